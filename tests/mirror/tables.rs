//! The allowed differences between C and Rust, with their reasons. The tests fail on an entry that is not needed.

use crate::source::{Item, Kind, Side};

/// A call in C, the equivalent call in Rust, and the reason. If one side is empty, the other has no counterpart. Each
/// is the beginning of the call's source.
pub struct Rule {
    /// The programs to which it applies: a part of their names.
    pub place: &'static str,
    pub c: &'static str,
    pub rust: &'static str,
    pub why: &'static str,
}

const fn same(c: &'static str, rust: &'static str, why: &'static str) -> Rule {
    Rule { place: "", c, rust, why }
}

const fn c_only(c: &'static str, why: &'static str) -> Rule {
    same(c, "", why)
}

const fn rust_only(rust: &'static str, why: &'static str) -> Rule {
    same("", rust, why)
}

const fn fork(rule: Rule) -> Rule {
    Rule { place: "server/fork", ..rule }
}

/// `server robust` is idiomatic Rust, with nix and owned descriptors.
const fn robust(rule: Rule) -> Rule {
    Rule { place: "server/robust", ..rule }
}

pub const CALLS: &[Rule] = &[
    // the command line
    c_only("atoi(argv[1])", "clap has read the command line before main"),
    c_only("atoi(argv[2])", "clap has read the command line before main; message does it itself"),
    rust_only("atoi(&argv[2])", "as the line above"),
    same(
        "converse(socket_desc, argv[3])",
        "converse(socket_desc, name)",
        "in Rust, clap has parsed the option",
    ),
    c_only("strcmp(argv[3],", "clap has read the command line before main"),
    rust_only(".len()", "C has argc"),
    robust(c_only("start()", "Rust's runtime has done it before main")),
    robust(c_only("server_args(", "clap has read the command line before main")),
    // addresses
    rust_only("sockaddr_in()", "Rust has no uninitialised variable"),
    c_only("bzero(&server_addr,", "in Rust, the declaration sets it to zero"),
    same("bcopy(server->h_addr,", "server_addr.sin_addr =", "Rust's assignment copies"),
    rust_only(".h_addr()", "a macro in C"),
    rust_only("size_of::<sockaddr_in>()", "C's sizeof is no call"),
    c_only("strcpy(ip,", "Rust's inet_ntoa copies the static buffer"),
    robust(c_only("memset(&server,", "sockaddr_in() is all zero")),
    // texts
    same("strlen(message)", ".as_bytes()", "the number of bytes to send"),
    same("snprintf(message,", "format(", "a request that names its host"),
    c_only("bzero(buffer,", "in Rust, the declaration sets it to zero"),
    same("fgets(buffer, 255, stdin)", "fgets(&mut buffer[..255])", "a slice knows its length"),
    same(
        "fwrite(server_reply, 1, n, stdout)",
        "fwrite(&server_reply[..n as usize])",
        "a slice knows its length",
    ),
    robust(same("memchr(buffer, '\\0',", ".contains(&0)", "whether the buffer has a NUL")),
    robust(same("memchr(buffer, '\\n',", ".contains(&b'\\n')", "whether the buffer has a newline")),
    // sockets
    robust(same(
        "socket(AF_INET, SOCK_STREAM, 0)",
        "socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)",
        "nix has an enum for each argument",
    )),
    robust(same(
        "setsockopt(socket_desc, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))",
        "setsockopt(&socket_desc, ReuseAddr, &true)",
        "in nix, an option is a type that knows its level and its size",
    )),
    robust(same(
        "accept(socket_desc, (struct sockaddr *)&client,",
        "accept(&socket_desc)",
        "in Rust, accept returns the address",
    )),
    robust(rust_only("break accepted", "in C, the condition of the while ends the loop")),
    robust(rust_only("SockFlag::empty()", "nix's name for no flags")),
    // signals
    fork(same(
        "sigaction(SIGCHLD, &action, NULL)",
        "sigaction(SIGCHLD, Handler::ReapChildren, SaFlags::SA_RESTART)",
        "C has the handler and the flags in a structure; in Rust, the handlers are an enum",
    )),
    fork(c_only("return 0;", "Rust knows that the loop does not end")),
    robust(c_only("action.sa_handler =", "ffi's sigaction does it, from handler")),
    robust(c_only("action.sa_flags =", "ffi's sigaction does it: the same flags for every handler")),
    robust(c_only("sigemptyset(&action.sa_mask)", "ffi's sigaction does it")),
    robust(same(
        "sigaction(SIGCHLD, &action,",
        "sigaction(Signal::SIGCHLD, Handler::ReapChildren)",
        "in Rust, the handlers are an enum",
    )),
    robust(same(
        "signal(SIGPIPE, SIG_IGN)",
        "sigaction(Signal::SIGPIPE, Handler::Ignore)",
        "C uses the older call",
    )),
    robust(same(
        "sigprocmask(SIG_UNBLOCK, &set, NULL)",
        "sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(Signal::SIGCHLD)), None)",
        "a set of one signal is one expression",
    )),
    robust(c_only("sigemptyset(&set)", "a set of one signal is one expression")),
    robust(c_only("sigaddset(&set, SIGCHLD)", "a set of one signal is one expression")),
    robust(rust_only("Some(", "an optional argument: NULL in C")),
    robust(rust_only("SigSet::from(Signal::SIGCHLD)", "a set of one signal is one expression")),
    same("waitpid(-1, NULL, WNOHANG)", "waitpid_nohang()", "the Rust function fixes the arguments"),
    rust_only(".is_some()", "C compares with 0"),
    rust_only("errno::errno()", "in C errno is a variable"),
    same("errno =", "errno::set_errno(", "in C errno is a variable"),
    // errors
    robust(rust_only(".map_err(", "C compares with -1; the ? after it is C's return 1")),
    robust(rust_only(".ok()", "an error that C ignores, too")),
    robust(rust_only(".print()", "C's perror prints at once")),
];

/// Apply the rules: give equivalent calls the same key, and remove calls without a counterpart.
pub fn translated(program: &str, side: Side, items: Vec<Item>, rules: &[&Rule]) -> Vec<Item> {
    let translate = |mut item: Item| {
        let wording = |rule: &Rule| if side == Side::C { rule.c } else { rule.rust };
        let applies = |rule: &&&Rule| {
            program.contains(rule.place) && !wording(rule).is_empty() && item.text.starts_with(wording(rule))
        };
        let Some(rule) = rules.iter().find(applies).filter(|_| item.kind == Kind::Call) else {
            return Some(item);
        };
        // several Rust calls may be equivalent to one C call, so the key is C's
        item.key = rule.c.into();
        (!rule.c.is_empty() && !rule.rust.is_empty()).then_some(item)
    };
    items.into_iter().filter_map(translate).collect()
}

/// A name or a text that only one side has: its place (a part of `server/fork main`), the name or text, and the reason.
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
    only(Side::C, "main", "argc", "clap reads the command line"),
    only(Side::C, "main", "argv", "clap reads the command line"),
    only(Side::Rust, "client/message main", "argv", "the arguments that clap has read, without the option"),
    only(Side::Rust, "client/message main", "reply", "C reads argv"),
    only(Side::Rust, "client/recv main", "name", "C reads argv"),
    only(Side::Rust, "client/resolve main", "name", "C reads argv"),
    only(Side::Rust, "client/", "to", "the arguments that clap has read; C reads argv"),
    only(Side::Rust, "server/", "on", "the arguments that clap has read; C reads argv"),
    only(Side::C, "server/fork main", "action", "Rust's sigaction takes the handler and the flags"),
    only(Side::Rust, "server/robust", "errno", "in C, errno is a global variable"),
    only(Side::Rust, "server/robust", "accepted", "the socket and the address; C has a variable for each"),
    only(Side::C, "server/robust", "on", "Rust passes true directly"),
    only(Side::C, "server/robust main", "n", "Rust's accept knows the size of an address"),
    only(Side::C, "server/robust main", "pid", "Rust matches on fork's result"),
    only(Side::C, "server/robust main", "action", "Rust's sigaction takes the handler"),
    only(Side::C, "server/robust main", "set", "a set of one signal is one expression"),
];

pub const TEXTS: &[Only] = &[
    only(Side::C, "client/", "172.217.22.78", "a default of the command line: src/client/options.rs"),
    only(Side::C, "client/resolve", "www.google.com", "a default of the command line: src/client/options.rs"),
    only(Side::C, "client/message", "--reply", "clap reads the command line"),
    only(Side::C, "server/fork main", "--no-reap", "clap reads the command line"),
    only(Side::C, "server/robust child", "ok", "C fills the rest of an array with NULs"),
    only(
        Side::Rust,
        "server/robust child",
        "ok\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0",
        "Rust spells them out",
    ),
];

/// The C functions that Rust has in src/ffi/signals.rs, because they need unsafe code.
pub const IN_FFI: &[(&str, &str, &str)] = &[
    ("server/fork", "reap_children", "a signal handler: sigaction, which installs it, is unsafe"),
    ("server/robust", "reap_children", "as the line above"),
];

/// A public function of src/visible.rs or src/stream.rs that the C header does not have, and the reason.
pub struct RustOnly {
    pub function: &'static str,
    pub why: &'static str,
}

pub const NOT_IN_HEADER: &[RustOnly] =
    &[RustOnly { function: "until_nul", why: "C's functions stop at a NUL by themselves" }];
