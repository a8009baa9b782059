//! resolve: find the address of a name.
//! Usage: prise client resolve [NAME]
//! Twin: c/client/resolve.c. Next: ../server/accept.rs

use crate::error::{Error, herror};
use crate::ffi::{gethostbyname, inet_ntoa};
use crate::stdio::{flush_stdout, printf};

/// `prise client resolve`
///
/// # Errors
/// The call that failed, with its reason; or [`Error::Stdout`], when not everything could be printed.
pub fn main(hostname: &str) -> Result<(), Error> {
    // resolve the name
    let he = gethostbyname(hostname).map_err(herror("gethostbyname"))?;

    // print its first address
    let addr_list = he.h_addr_list;
    let ip = inet_ntoa(addr_list[0]);
    printf!("{hostname} resolved to : {ip}\n");

    flush_stdout()
}
