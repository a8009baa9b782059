//! Programs that people deploy, behind `prise serve`, and what stands before it and beside it: proxies and
//! supervisors. All are Debian's own.

#[path = "../support/mod.rs"]
mod support;

mod haproxy;
mod inetd;
mod server;
mod supervisors;
mod ucspi;
