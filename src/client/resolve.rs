//! resolve: find the address of a name.
//! Usage: `prise client resolve [NAME]`
//! Twin: c/client/resolve.c. Next: ../server/accept.rs

use libc::c_int;

use crate::ffi::c::gethostbyname;
use crate::ffi::inet_ntoa;
use crate::stdio::{herror, printf};

/// `prise client resolve`
pub fn main(name: &str) -> c_int {
    // Differs (c): the name can be given
    let hostname = name;

    // resolve the name
    let Some(he) = gethostbyname(hostname) else {
        herror("gethostbyname");
        return 1;
    };

    // print its first address
    let addr_list = he.h_addr_list;
    let ip = inet_ntoa(addr_list[0]);
    printf!("%s resolved to : %s\n", hostname, ip);

    0
}
