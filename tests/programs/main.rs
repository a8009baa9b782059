//! `prise serve` together with programs that people deploy: inetd and UCSPI programs behind it, haproxy in front of it,
//! systemd and other supervisors that start it. All are Debian packages.

#[path = "../support/mod.rs"]
mod support;

mod haproxy;
mod inetd;
mod server;
mod supervisors;
mod ucspi;
