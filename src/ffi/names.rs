//! Names and addresses: byte order, dotted quads, and the resolver of `<netdb.h>`.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::{self, Display, Formatter, Write};
use std::mem::size_of;

use libc::{hostent, in_addr, in_addr_t};

// Functions that the libc crate declares on no target, or only on some.
unsafe extern "C" {
    #[link_name = "gethostbyname"]
    fn c_gethostbyname(name: *const c_char) -> *const hostent;
    #[link_name = "hstrerror"]
    fn c_hstrerror(err: c_int) -> *const c_char;
    #[link_name = "inet_addr"]
    pub(super) fn c_inet_addr(cp: *const c_char) -> in_addr_t;
    #[link_name = "inet_ntoa"]
    fn c_inet_ntoa(addr: in_addr) -> *const c_char;
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    fn __nss_configure_lookup(dbname: *const c_char, string: *const c_char) -> c_int;

    // h_errno is a macro that calls this function, or a plain variable
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
    #[cfg_attr(target_os = "linux", link_name = "__h_errno_location")]
    #[cfg_attr(any(target_os = "freebsd", target_os = "netbsd"), link_name = "__h_errno")]
    fn h_errno_location() -> *const c_int;
    #[cfg(any(target_os = "openbsd", target_os = "macos"))]
    #[link_name = "h_errno"]
    static mut H_ERRNO: c_int;
}

/// Convert a 16-bit number from host to network byte order: `uint16_t htons(uint16_t)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/htons.html>
pub const fn htons(hostshort: u16) -> u16 {
    hostshort.to_be()
}

/// Convert a 16-bit number from network to host byte order: `uint16_t ntohs(uint16_t)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/ntohs.html>
pub const fn ntohs(netshort: u16) -> u16 {
    u16::from_be(netshort)
}

/// Convert a 32-bit number from host to network byte order: `uint32_t htonl(uint32_t)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/htonl.html>
pub const fn htonl(hostlong: u32) -> u32 {
    hostlong.to_be()
}

/// Write an address, in network byte order, as a dotted quad: `char *inet_ntoa(struct in_addr)`.
///
/// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/inet_ntoa.html>
pub fn inet_ntoa(address: in_addr) -> Quad {
    // SAFETY: inet_ntoa takes its argument by value and returns its static buffer, never a null pointer.
    let buffer = unsafe { c_inet_ntoa(address) };
    // SAFETY: the buffer is NUL-terminated; with one thread (see src/ffi.rs), nothing changes it before it is copied.
    let text = unsafe { CStr::from_ptr(buffer) }.to_bytes();
    let mut quad = Quad { text: [0; 15], len: text.len() };
    quad.text[..quad.len].copy_from_slice(text);
    quad
}

/// A dotted quad. The longest, `255.255.255.255`, has 15 characters.
#[derive(Clone, Copy)]
pub struct Quad {
    text: [u8; 15],
    len: usize,
}

impl Display for Quad {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.text[..self.len].iter().try_for_each(|&digit| f.write_char(digit.into()))
    }
}

/// The result of [`gethostbyname`], owned: the part of `struct hostent` that the programs read.
pub struct Hostent {
    /// At least one address, in network byte order, in the resolver's order.
    pub h_addr_list: Vec<in_addr>,
}

impl Hostent {
    /// The first address: `h_addr`.
    pub fn h_addr(&self) -> in_addr {
        self.h_addr_list[0]
    }
}

/// Resolve a name to its IPv4 addresses: `struct hostent *gethostbyname(const char *)`.
///
/// # Errors
/// The value of `h_errno`: `HOST_NOT_FOUND`, `TRY_AGAIN`, `NO_RECOVERY`, `NO_DATA`; see [`hstrerror`].
///
/// <https://pubs.opengroup.org/onlinepubs/009695399/functions/gethostbyname.html>
pub fn gethostbyname(name: &str) -> std::result::Result<Hostent, c_int> {
    let name = CString::new(name).map_err(|_| HOST_NOT_FOUND)?;
    // SAFETY: name is a NUL-terminated string that outlives the call.
    let host = unsafe { c_gethostbyname(name.as_ptr()) };
    // SAFETY: it is null or the resolver's static hostent, which nothing changes here: one thread (see src/ffi.rs).
    let host = unsafe { host.as_ref() }.ok_or_else(h_errno)?;
    if host.h_addrtype != libc::AF_INET || host.h_length as usize != size_of::<in_addr>() {
        return Err(NO_DATA);
    }
    let mut h_addr_list = Vec::new();
    let mut entry = host.h_addr_list;
    loop {
        // SAFETY: a null pointer ends the array h_addr_list, and entry is not past it.
        let address = unsafe { *entry };
        if address.is_null() {
            break;
        }
        // SAFETY: an entry points to h_length bytes, the size of an in_addr; read_unaligned needs no alignment.
        h_addr_list.push(unsafe { address.cast::<in_addr>().read_unaligned() });
        // SAFETY: *entry was not the null pointer that ends the array, so there is a next entry.
        entry = unsafe { entry.add(1) };
    }
    if h_addr_list.is_empty() { Err(NO_DATA) } else { Ok(Hostent { h_addr_list }) }
}

/// If glibc is linked statically, make it look up users, groups and hosts only with its built-in modules, files and
/// DNS: `int __nss_configure_lookup(const char *, const char *)`. Other modules that nsswitch.conf may name are shared
/// libraries, and loading one into a static program can crash it: with Debian 12's `passwd: files systemd`, looking up
/// an unknown user was a segmentation fault.
pub fn do_without_nss_modules() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    for (database, services) in
        [(c"passwd", c"files"), (c"group", c"files"), (c"initgroups", c"files"), (c"hosts", c"files dns")]
    {
        // SAFETY: both are NUL-terminated constants; with one thread (see src/ffi.rs), no lookup is in progress.
        unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
}

/// `h_errno`: unknown host (`<netdb.h>`; the same number on every system).
pub const HOST_NOT_FOUND: c_int = 1;

/// `h_errno`: the name has no address (`<netdb.h>`; the same number on every system).
pub const NO_DATA: c_int = 4;

/// The message for an `h_errno`: `const char *hstrerror(int)`.
pub fn hstrerror(err: c_int) -> String {
    // SAFETY: hstrerror takes any integer and returns a constant string, never a null pointer.
    let text = unsafe { c_hstrerror(err) };
    // SAFETY: the constant string is NUL-terminated and lives until the program ends.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The reason why the last call of the resolver failed: `int h_errno`.
pub fn h_errno() -> c_int {
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
    {
        // SAFETY: it takes no argument and returns the address of this thread's h_errno.
        let location = unsafe { h_errno_location() };
        // SAFETY: location is the address of an int that lives as long as the thread.
        unsafe { *location }
    }
    #[cfg(any(target_os = "openbsd", target_os = "macos"))]
    // SAFETY: only the resolver writes to h_errno; with one thread (see src/ffi.rs), it is not running now.
    unsafe {
        H_ERRNO
    }
}
