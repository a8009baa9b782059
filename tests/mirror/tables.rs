//! Where the two languages say the same thing differently, and why. An entry without which the mirror
//! would still hold is a failure: the tables keep nothing that the programs no longer need.

use crate::source::{Item, Kind, Side};

/// A call in C, a call in Rust, and why one stands for the other. An empty side means that the other
/// has no counterpart. Each is the beginning of the call as it is written.
pub struct Rule {
    pub c: &'static str,
    pub rust: &'static str,
    pub why: &'static str,
}

const fn same(c: &'static str, rust: &'static str, why: &'static str) -> Rule {
    Rule { c, rust, why }
}

const fn c_only(c: &'static str, why: &'static str) -> Rule {
    Rule { c, rust: "", why }
}

const fn rust_only(rust: &'static str, why: &'static str) -> Rule {
    Rule { c: "", rust, why }
}

pub const CALLS: &[Rule] = &[
    // before the first step
    c_only("start()", "Rust's runtime has done it before main"),
    c_only("client_args(", "clap has read the command line before main"),
    c_only("server_args(", "clap has read the command line before main"),
    // sockets
    same(
        "socket(AF_INET, SOCK_STREAM, 0)",
        "socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)",
        "nix has an enum for each argument",
    ),
    same(
        "setsockopt(socket_desc, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))",
        "setsockopt(&socket_desc, ReuseAddr, &true)",
        "in nix, an option is a type that knows its level and its size",
    ),
    same(
        "accept(socket_desc, (struct sockaddr *)&client,",
        "accept(&socket_desc)",
        "Rust's returns the address",
    ),
    same(
        "shutdown(socket_desc, SHUT_WR)",
        "shutdown(socket_desc.as_raw_fd(), Shutdown::Write)",
        "nix has an enum",
    ),
    rust_only("break accepted", "C's while ends by itself"),
    rust_only("SockFlag::empty()", "nix's name for no flag"),
    rust_only("MsgFlags::empty()", "nix's name for no flag"),
    rust_only(".as_raw_fd()", "the number of a descriptor that Rust owns"),
    // addresses
    same("memset(&server", "sockaddr_in()", "an address that is all zero"),
    same("memcpy(&server_addr.sin_addr,", "server_addr.sin_addr =", "Rust's assignment copies"),
    c_only(
        "memcpy(&addr, addr_list[0],",
        "C's list points to the bytes of addresses, Rust's holds addresses",
    ),
    same("inet_ntoa(addr)", "inet_ntoa(addr_list[0])", "as the line above"),
    same("bad_address(", "Error::Address(", "said on stderr, exit code 2"),
    rust_only(".ok_or_else(", "None is INADDR_NONE"),
    rust_only(".ok_or_else?", "bad_address does not return"),
    rust_only(".into()", "the error owns its text"),
    // texts
    same("snprintf(message,", "String::from(", "a request that is always the same"),
    same("snprintf(message,", "format(", "a request that names its host"),
    same("strlen(message)", ".as_bytes()", "how many bytes there are to send"),
    same("memchr(buffer, '\\0',", ".contains(&0)", "whether a NUL has come"),
    same("memchr(buffer, '\\n',", ".contains(&b'\\n')", "whether a newline has come"),
    c_only("snprintf(ip,", "Rust's inet_ntoa has copied the static buffer"),
    c_only("memset(buffer,", "a Rust array is all zero from its declaration on"),
    rust_only(".is_none()", "C compares with NULL"),
    c_only("ferror(stdin)", "Rust's fgets returns the error, and nothing at the end of file"),
    same("fgets(buffer, 255, stdin)", "fgets(&mut buffer[..255])", "a slice knows its length"),
    // signals
    c_only("action.sa_handler =", "ffi's sigaction does it, from handler"),
    c_only("action.sa_flags =", "ffi's sigaction does it: the same flags for every handler"),
    c_only("sigemptyset(&action.sa_mask)", "ffi's sigaction does it"),
    same(
        "sigaction(SIGCHLD, &action,",
        "sigaction(Signal::SIGCHLD, handler)",
        "the handlers are a closed enum",
    ),
    same(
        "sigprocmask(SIG_UNBLOCK, &set, NULL)",
        "sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(Signal::SIGCHLD)), None)",
        "a set of one signal is one expression",
    ),
    c_only("sigemptyset(&set)", "a set of one signal is one expression"),
    c_only("sigaddset(&set, SIGCHLD)", "a set of one signal is one expression"),
    rust_only("Some(", "an argument that may be left out: NULL in C"),
    rust_only("SigSet::from(Signal::SIGCHLD)", "a set of one signal is one expression"),
    same("waitpid(-1, NULL, WNOHANG)", "waitpid_nohang()", "named for the arguments that it gives"),
    rust_only(".is_some()", "C compares with 0"),
    rust_only("errno::errno()", "in C errno is a variable"),
    same("errno =", "errno::set_errno(", "in C errno is a variable"),
    // errors
    rust_only(".map_err(", "C compares with -1; the ? behind it is C's return 1"),
    rust_only(".ok()", "a failure that C does not look at either"),
    rust_only(".print()", "C's perror prints at once"),
];

/// Give the calls that the rules speak of the same key, or take them out.
pub fn translated(side: Side, items: Vec<Item>, rules: &[&Rule]) -> Vec<Item> {
    let translate = |mut item: Item| {
        let wording = |rule: &Rule| if side == Side::C { rule.c } else { rule.rust };
        let speaks = |rule: &&&Rule| !wording(rule).is_empty() && item.text.starts_with(wording(rule));
        let Some(rule) = rules.iter().find(speaks).filter(|_| item.kind == Kind::Call) else {
            return Some(item);
        };
        // two wordings may share one counterpart: the key is C's
        item.key = rule.c.into();
        (!rule.c.is_empty() && !rule.rust.is_empty()).then_some(item)
    };
    items.into_iter().filter_map(translate).collect()
}

/// A name or a text that one side alone has: where (a part of `server/fork main`), which, and why.
pub struct Only {
    pub side: Side,
    pub place: &'static str,
    pub key: &'static str,
    pub why: &'static str,
}

const fn only(side: Side, place: &'static str, key: &'static str, why: &'static str) -> Only {
    Only { side, place, key, why }
}

pub const VARIABLES: &[Only] = &[
    only(Side::Rust, "server/", "errno", "in C errno is a global, which needs no declaration"),
    only(Side::Rust, "server/", "accepted", "the socket and the address that C's accept gives apart"),
    only(Side::Rust, "server/fork main", "handler", "C: action.sa_handler"),
    only(Side::C, "main", "argc", "clap reads the command line"),
    only(Side::C, "main", "argv", "clap reads the command line"),
    only(Side::C, "client/resolve", "addr", "Rust's list holds addresses, C's points to their bytes"),
    only(Side::C, "server/", "on", "Rust: true, in place"),
    only(Side::C, "server/", "c", "Rust's accept knows the size of an address"),
    only(Side::C, "server/fork main", "n", "Rust's accept knows the size of an address"),
    only(Side::C, "server/fork main", "pid", "Rust matches on what fork returns"),
    only(Side::C, "server/fork main", "action", "Rust's sigaction takes the handler"),
    only(Side::C, "server/fork main", "set", "a set of one signal is one expression"),
];

pub const TEXTS: &[Only] = &[
    only(Side::C, "client/", "172.217.22.78", "a default of the command line: src/cli.rs"),
    only(Side::C, "client/resolve", "www.google.com", "a default of the command line: src/cli.rs"),
    only(Side::C, "server/fork child", "ok", "C fills the rest of an array with NULs"),
    only(
        Side::Rust,
        "server/fork child",
        "ok\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0",
        "Rust spells them out",
    ),
    only(Side::C, "client/resolve", "{}", "Rust's inet_ntoa has copied the static buffer"),
];

/// The C functions that in Rust stand in src/ffi.rs, because they cannot be written without unsafe.
pub const IN_FFI: &[(&str, &str, &str)] =
    &[("server/fork", "reap_children", "a signal handler: sigaction, which sets it, is unsafe")];

/// A public function of src/visible.rs or src/stream.rs that its C header does not have, and why.
pub struct Here {
    pub function: &'static str,
    pub why: &'static str,
}

pub const NOT_IN_HEADER: &[Here] =
    &[Here { function: "until_nul", why: "C's strings end at their NUL by themselves" }];
