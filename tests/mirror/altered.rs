//! The comparisons themselves: of two small programs that mirror each other, one is altered in one
//! place, and the difference must be found and shown where it is.

use std::collections::BTreeSet;

use crate::header::header;
use crate::pairs::{
    Pair, calls, differing, functions, printed, public_functions, sorted, steps, unneeded, without_twin,
};
use crate::source::{Kind, Side, Source};
use crate::tables::{CALLS, Rule, TEXTS, VARIABLES};

const C: &str = r#"// knock: say who is there.
// Usage: knock [HOST]
// Twin: src/client/knock.rs. Next: send.c

int main(int argc, char **argv)
{
    int socket_desc, new_socket;

    // create the socket
    socket_desc = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_desc == -1) {
        perror("no socket");
        return 1;
    }

    // say who is there
    server.sin_port = htons(port);
    printf("%s:%d knocks\n", inet_ntoa(server.sin_addr), ntohs(server.sin_port));
    flush_stdout();

    // go
    while (readable(socket_desc, 10))
        if (n < 0)
            break;
    close(new_socket); // the parent's copy
    send(socket_desc, "bye", 3, 0);
    return 0;
}

static void farewell(int sock)
{
    _exit(0);
}
"#;

const RUST: &str = r#"//! knock: say who is there.
//! Usage: prise client knock [HOST]
//! Twin: c/client/knock.c. Next: send.rs

pub fn main(new_socket: OwnedFd) -> Result<(), Error> {
    // create the socket
    let socket_desc = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)
        .map_err(perror("no socket"))?;

    // say who is there
    server.sin_port = htons(port);
    printf!("{}:{} knocks\n", inet_ntoa(server.sin_addr), ntohs(server.sin_port));
    flush_stdout().ok();

    // go
    while readable(&socket_desc, 10) {
        if n < 0 {
            break;
        }
    }
    close(new_socket).ok(); // the parent's copy
    send(&socket_desc, "bye").ok();
    Ok(())
}

fn farewell(sock: OwnedFd) -> ! {
    _exit(0)
}
"#;

/// All that differs between two programs, the spaces between the columns made one.
fn seen(c: &str, rust: &str) -> String {
    let pairs = [Pair {
        // written as robust is
        name: "client/knock, as server/robust".into(),
        c: Source::new(Side::C, "c/client/knock.c", c),
        rust: Source::new(Side::Rust, "src/client/knock.rs", rust),
    }];
    let (rules, texts) = (Vec::from_iter(CALLS), Vec::from_iter(TEXTS));
    let variables = Vec::from_iter(VARIABLES);
    let seen = [
        differing(&pairs, "the header", |_, source| header(source)),
        differing(&pairs, "the functions", functions),
        differing(&pairs, "the steps", steps),
        differing(&pairs, "the calls", |pair, source| calls(&rules, pair, source)),
        differing(&pairs, "what is printed", printed),
        differing(&pairs, "the texts", |pair, source| sorted(Kind::Sent, &texts, pair, source)),
        differing(&pairs, "the variables", |pair, source| sorted(Kind::Variable, &variables, pair, source)),
    ];
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    seen.concat().iter().flat_map(|text| text.lines()).map(line).collect()
}

/// Alter the Rust program in one place: what is seen of it, row by row.
#[track_caller]
fn altered(from: &str, to: &str, rows: &[&str]) {
    assert_eq!(RUST.matches(from).count(), 1, "{from:?} must stand in one place");
    let seen = seen(C, &RUST.replace(from, to));
    for row in rows {
        assert!(seen.lines().any(|line| line == *row), "not shown: {row}\n{seen}");
    }
}

#[test]
fn two_programs_that_mirror_each_other_show_no_difference() {
    pretty_assertions::assert_eq!(seen(C, RUST), "");
}

#[test]
fn the_difference_names_both_files_and_what_was_compared() {
    let rows = ["client/knock, as server/robust: the calls", "c/client/knock.c src/client/knock.rs"];
    altered("    close(new_socket).ok(); // the", "    // the", &rows);
}

#[test]
fn a_call_that_is_left_out_is_seen() {
    altered("    close(new_socket).ok(); // the", "    // the", &["25 close(new_socket) <"]);
}

#[test]
fn a_call_that_c_leaves_out_is_seen() {
    let seen = seen(&C.replace("    close(new_socket); // the", "    // the"), RUST);
    assert!(seen.lines().any(|line| line == "> 21 close(new_socket)"), "{seen}");
}

#[test]
fn a_call_too_many_is_seen_even_one_that_no_table_names() {
    altered("    Ok(())", "    drop(socket_desc);\n    Ok(())", &["> 23 drop(socket_desc)"]);
}

#[test]
fn a_call_in_the_arguments_of_a_macro_is_seen() {
    altered("ntohs(server.sin_port)", "server.sin_port", &["18 ntohs(server.sin_port) <"]);
}

#[test]
fn a_call_on_another_variable_is_seen() {
    altered("close(new_socket)", "close(socket_desc)", &["25 close(new_socket) | 21 close(socket_desc)"]);
}

#[test]
fn calls_in_another_order_are_seen() {
    let (first, second) =
        ("    close(new_socket).ok(); // the parent's copy\n", "    send(&socket_desc, \"bye\").ok();\n");
    let rows = ["> 21 send(&socket_desc, \"bye\")", "26 send(socket_desc, \"bye\", 3, 0) <"];
    altered(&format!("{first}{second}"), &format!("{second}{first}"), &rows);
}

#[test]
fn a_call_under_another_step_is_seen() {
    let rows = ["> 14 // go", "19 flush_stdout() 15 flush_stdout()", "21 // go <"];
    altered("    flush_stdout().ok();\n\n    // go\n", "\n    // go\n    flush_stdout().ok();\n", &rows);
}

#[test]
fn steps_in_another_order_are_seen() {
    let step = |name: &str| {
        let start = RUST.find(name).expect("the step is there");
        &RUST[start..start + RUST[start..].find("\n\n").expect("a step ends") + 2]
    };
    let (create, say) = (step("    // create"), step("    // say"));
    let rows = ["> 6 // say who is there", "16 // say who is there <"];
    altered(&format!("{create}{say}"), &format!("{say}{create}"), &rows);
}

#[test]
fn a_step_in_other_words_is_seen() {
    altered("// create the socket", "// make the socket", &["9 // create the socket | 6 // make the socket"]);
}

#[test]
fn a_remark_behind_a_call_in_other_words_is_seen() {
    altered("the parent's copy", "the child's copy", &["25 // the parent's copy | 21 // the child's copy"]);
}

#[test]
fn a_function_of_another_name_is_seen() {
    altered("fn farewell", "fn goodbye", &["30 farewell() | 26 goodbye()"]);
}

#[test]
fn a_loop_that_is_left_another_way_is_seen() {
    altered("break;", "continue;", &["24 break; | 18 continue"]);
}

#[test]
fn a_failure_that_is_not_returned_is_seen() {
    altered("(perror(\"no socket\"))?", "(perror(\"no socket\")).ok()", &["13 return 1; <"]);
}

#[test]
fn another_exit_status_is_seen() {
    altered("_exit(0)", "_exit(1)", &["32 _exit(0) | 27 _exit(1)"]);
}

#[test]
fn a_field_that_is_not_filled_in_is_seen() {
    altered("    server.sin_port = htons(port);\n", "", &["17 server.sin_port = <", "17 htons(port) <"]);
}

#[test]
fn a_line_printed_in_other_words_is_seen() {
    let rows = ["18 printf \"{inet_ntoa}:{ntohs} knocks\\n\" | 12 printf \"{inet_ntoa}:{ntohs} calls\\n\""];
    altered("knocks", "calls", &rows);
    altered("\"no socket\"", "\"no plug\"", &["12 perror \"no socket\" | 8 perror \"no plug\""]);
}

#[test]
fn a_line_filled_in_another_order_is_seen() {
    let (quad, port) = ("inet_ntoa(server.sin_addr)", "ntohs(server.sin_port)");
    let rows = ["18 printf \"{inet_ntoa}:{ntohs} knocks\\n\" | 12 printf \"{ntohs}:{inet_ntoa} knocks\\n\""];
    altered(&format!("{quad}, {port}"), &format!("{port}, {quad}"), &rows);
}

#[test]
fn a_text_sent_in_other_words_is_seen() {
    altered("\"bye\"", "\"ciao\"", &["26 \"bye\" | 22 \"ciao\""]);
}

#[test]
fn a_variable_of_another_name_is_seen() {
    altered("let socket_desc", "let listener", &["7 socket_desc <", "> 7 listener"]);
}

#[test]
fn a_header_that_is_not_its_twins_is_seen() {
    let rust = "knock: say who is there.";
    altered(rust, "knock: say who it is.", &["1 knock: say who is there. | 1 knock: say who it is."]);
    let usage = &["2 Usage: knock [HOST] | 2 Usage: prise client tap [HOST]"];
    altered("client knock [HOST]", "client tap [HOST]", usage);
    let left = "3 Twin: src/client/knock.rs. Next: send.c |";
    altered(
        "c/client/knock.c",
        "c/client/send.c",
        &[&format!("{left} 3 Twin: c/client/send.c. Next: send.rs")],
    );
    altered("send.rs", "recv.rs", &[&format!("{left} 3 Twin: c/client/knock.c. Next: recv.rs")]);
    altered("send.rs", "nowhere.rs", &[&format!("{left} 3 Twin: c/client/knock.c. Next: nowhere.rs")]);
}

#[test]
fn a_header_that_names_another_program_in_both_is_seen() {
    let knock = |text: &str| text.replacen("knock: say", "tap: say", 1);
    let seen = seen(&knock(C), &knock(RUST));
    assert!(seen.contains("1 tap: say who is there. | 1 tap: say who is there."), "{seen}");
}

#[test]
fn a_program_without_its_twin_is_seen() {
    let c = BTreeSet::from(["client/a".into(), "client/b".into()]);
    let rust = BTreeSet::from(["client/b".into(), "client/c".into()]);
    let seen = without_twin(&c, &rust).expect("they differ");
    assert!(seen.contains("client/a ") && seen.contains('<'), "{seen}");
    assert!(seen.contains(">    2  client/c"), "{seen}");
}

/// Two files that programs share.
fn shared(rust: &str) -> [Pair; 1] {
    let c = "#ifndef H\n#define H\n#define MS 1000\nint a(void) { }\nint helper(void) { }\nint b(void) { }\n#endif\n";
    let (c, rust) = (Source::new(Side::C, "c/h.h", c), Source::new(Side::Rust, "src/h.rs", rust));
    [Pair { name: "h".into(), c, rust }]
}

#[test]
fn shared_constants_and_functions_that_differ_are_seen() {
    let seen = |rust: &str| {
        let constants = differing(&shared(rust), "", |_, source| source.constants.clone());
        let functions = differing(&shared(rust), "", |pair, source| public_functions(&[], pair, source));
        [constants, functions].concat().concat()
    };
    assert_eq!(seen("const MS: u16 = 1_000;\npub fn a() {}\npub fn b() {}\nfn own() {}\n"), "");
    assert!(seen("const MS: u16 = 999;\npub fn a() {}\n").contains("|    1  MS = 999"));
    assert!(seen("const MS: u16 = 1000;\npub fn b() {}\npub fn a() {}\n").contains("<"));
    assert!(seen("const MS: u16 = 1000;\npub fn a() {}\npub fn c() {}\n").contains(">    3  c()"));
}

#[test]
fn an_entry_of_a_table_that_nothing_needs_is_seen() {
    let needed = Rule { place: "", c: "", rust: ".map_err(", why: "" };
    let not_needed = Rule { place: "", c: "vfork()", rust: "", why: "" };
    let program = |side, text| Source::new(side, "", text);
    let pairs = [Pair {
        name: String::new(),
        c: program(Side::C, "int a(void) { b(); }"),
        rust: program(Side::Rust, "fn a() { b().map_err(c); }"),
    }];
    let table = [needed, not_needed];
    let unneeded = unneeded(&table, |rules| differing(&pairs, "", |pair, source| calls(rules, pair, source)));
    assert_eq!(unneeded.iter().map(|rule| rule.c).collect::<Vec<_>>(), ["vfork()"]);
}
