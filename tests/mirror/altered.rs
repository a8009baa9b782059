//! Tests of the comparisons. There are two equivalent small programs, one in C and one in Rust. Each test changes one
//! place in one of them; the comparison must find the difference and show its line.

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
//! Usage: `prise client knock [HOST]`
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

/// All differences between two programs, with single spaces between the columns.
fn differences(c: &str, rust: &str) -> String {
    let pairs = [Pair {
        // the name selects the rules for server/robust
        name: "client/knock, as server/robust".into(),
        c: Source::new(Side::C, "c/client/knock.c", c),
        rust: Source::new(Side::Rust, "src/client/knock.rs", rust),
    }];
    let (rules, texts) = (Vec::from_iter(CALLS), Vec::from_iter(TEXTS));
    let variables = Vec::from_iter(VARIABLES);
    let found = [
        differing(&pairs, "the header", |_, source| header(source)),
        differing(&pairs, "the functions", functions),
        differing(&pairs, "the steps", steps),
        differing(&pairs, "the calls", |pair, source| calls(&rules, pair, source)),
        differing(&pairs, "what is printed", printed),
        differing(&pairs, "the texts", |pair, source| sorted(Kind::Sent, &texts, pair, source)),
        differing(&pairs, "the variables", |pair, source| sorted(Kind::Variable, &variables, pair, source)),
    ];
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    found.concat().iter().flat_map(|text| text.lines()).map(line).collect()
}

/// Change the Rust program in one place, and assert that the comparison shows these rows.
#[track_caller]
fn assert_shown(from: &str, to: &str, rows: &[&str]) {
    assert_eq!(RUST.matches(from).count(), 1, "{from:?} must be in the program once");
    let differences = differences(C, &RUST.replace(from, to));
    for row in rows {
        assert!(differences.lines().any(|line| line == *row), "not shown: {row}\n{differences}");
    }
}

#[test]
fn equivalent_programs_show_no_difference() {
    pretty_assertions::assert_eq!(differences(C, RUST), "");
}

#[test]
fn the_difference_names_both_files_and_what_was_compared() {
    let rows = ["client/knock, as server/robust: the calls", "c/client/knock.c src/client/knock.rs"];
    assert_shown("    close(new_socket).ok(); // the", "    // the", &rows);
}

#[test]
fn a_missing_call_is_shown() {
    assert_shown("    close(new_socket).ok(); // the", "    // the", &["25 close(new_socket) <"]);
}

#[test]
fn a_call_missing_in_c_is_shown() {
    let differences = differences(&C.replace("    close(new_socket); // the", "    // the"), RUST);
    assert!(differences.lines().any(|line| line == "> 21 close(new_socket)"), "{differences}");
}

#[test]
fn an_extra_call_is_shown_even_if_no_table_names_it() {
    assert_shown("    Ok(())", "    drop(socket_desc);\n    Ok(())", &["> 23 drop(socket_desc)"]);
}

#[test]
fn a_missing_call_in_the_arguments_of_a_macro_is_shown() {
    assert_shown("ntohs(server.sin_port)", "server.sin_port", &["18 ntohs(server.sin_port) <"]);
}

#[test]
fn a_call_with_another_variable_is_shown() {
    assert_shown(
        "close(new_socket)",
        "close(socket_desc)",
        &["25 close(new_socket) | 21 close(socket_desc)"],
    );
}

#[test]
fn calls_in_another_order_are_shown() {
    let (first, second) =
        ("    close(new_socket).ok(); // the parent's copy\n", "    send(&socket_desc, \"bye\").ok();\n");
    let rows = ["> 21 send(&socket_desc, \"bye\")", "26 send(socket_desc, \"bye\", 3, 0) <"];
    assert_shown(&format!("{first}{second}"), &format!("{second}{first}"), &rows);
}

#[test]
fn a_call_under_another_step_is_shown() {
    let rows = ["> 14 // go", "19 flush_stdout() 15 flush_stdout()", "21 // go <"];
    assert_shown("    flush_stdout().ok();\n\n    // go\n", "\n    // go\n    flush_stdout().ok();\n", &rows);
}

#[test]
fn steps_in_another_order_are_shown() {
    let step = |name: &str| {
        let start = RUST.find(name).expect("the program has the step");
        &RUST[start..start + RUST[start..].find("\n\n").expect("a step ends") + 2]
    };
    let (create, say) = (step("    // create"), step("    // say"));
    let rows = ["> 6 // say who is there", "16 // say who is there <"];
    assert_shown(&format!("{create}{say}"), &format!("{say}{create}"), &rows);
}

#[test]
fn a_step_in_other_words_is_shown() {
    assert_shown(
        "// create the socket",
        "// make the socket",
        &["9 // create the socket | 6 // make the socket"],
    );
}

#[test]
fn a_comment_after_a_call_in_other_words_is_shown() {
    assert_shown(
        "the parent's copy",
        "the child's copy",
        &["25 // the parent's copy | 21 // the child's copy"],
    );
}

#[test]
fn a_function_of_another_name_is_shown() {
    assert_shown("fn farewell", "fn goodbye", &["30 farewell() | 26 goodbye()"]);
}

#[test]
fn continue_instead_of_break_is_shown() {
    assert_shown("break;", "continue;", &["24 break; | 18 continue"]);
}

#[test]
fn an_error_that_is_not_returned_is_shown() {
    assert_shown("(perror(\"no socket\"))?", "(perror(\"no socket\")).ok()", &["13 return 1; <"]);
}

#[test]
fn another_exit_status_is_shown() {
    assert_shown("_exit(0)", "_exit(1)", &["32 _exit(0) | 27 _exit(1)"]);
}

#[test]
fn a_field_that_is_not_assigned_is_shown() {
    assert_shown("    server.sin_port = htons(port);\n", "", &["17 server.sin_port = <", "17 htons(port) <"]);
}

#[test]
fn a_printed_line_in_other_words_is_shown() {
    let rows = ["18 printf \"{inet_ntoa}:{ntohs} knocks\\n\" | 12 printf \"{inet_ntoa}:{ntohs} calls\\n\""];
    assert_shown("knocks", "calls", &rows);
    assert_shown("\"no socket\"", "\"no plug\"", &["12 perror \"no socket\" | 8 perror \"no plug\""]);
}

#[test]
fn a_printed_line_with_its_values_in_another_order_is_shown() {
    let (quad, port) = ("inet_ntoa(server.sin_addr)", "ntohs(server.sin_port)");
    let rows = ["18 printf \"{inet_ntoa}:{ntohs} knocks\\n\" | 12 printf \"{ntohs}:{inet_ntoa} knocks\\n\""];
    assert_shown(&format!("{quad}, {port}"), &format!("{port}, {quad}"), &rows);
}

#[test]
fn a_sent_text_in_other_words_is_shown() {
    assert_shown("\"bye\"", "\"ciao\"", &["26 \"bye\" | 22 \"ciao\""]);
}

#[test]
fn a_variable_of_another_name_is_shown() {
    assert_shown("let socket_desc", "let listener", &["7 socket_desc <", "> 7 listener"]);
}

#[test]
fn a_header_that_differs_from_its_twins_is_shown() {
    let rust = "knock: say who is there.";
    assert_shown(rust, "knock: say who it is.", &["1 knock: say who is there. | 1 knock: say who it is."]);
    let usage = &["2 Usage: knock [HOST] | 2 Usage: `prise client tap [HOST]`"];
    assert_shown("client knock [HOST]", "client tap [HOST]", usage);
    let left = "3 Twin: src/client/knock.rs. Next: send.c |";
    assert_shown(
        "c/client/knock.c",
        "c/client/send.c",
        &[&format!("{left} 3 Twin: c/client/send.c. Next: send.rs")],
    );
    assert_shown("send.rs", "recv.rs", &[&format!("{left} 3 Twin: c/client/knock.c. Next: recv.rs")]);
    assert_shown("send.rs", "nowhere.rs", &[&format!("{left} 3 Twin: c/client/knock.c. Next: nowhere.rs")]);
}

#[test]
fn a_header_that_names_another_program_in_both_is_shown() {
    let renamed = |text: &str| text.replacen("knock: say", "tap: say", 1);
    let differences = differences(&renamed(C), &renamed(RUST));
    assert!(differences.contains("1 tap: say who is there. | 1 tap: say who is there."), "{differences}");
}

#[test]
fn a_program_without_a_twin_is_shown() {
    let c = BTreeSet::from(["client/a".into(), "client/b".into()]);
    let rust = BTreeSet::from(["client/b".into(), "client/c".into()]);
    let differences = without_twin(&c, &rust).expect("they differ");
    assert!(differences.contains("client/a ") && differences.contains('<'), "{differences}");
    assert!(differences.contains(">    2  client/c"), "{differences}");
}

/// A shared C header and its Rust counterpart.
fn shared(rust: &str) -> [Pair; 1] {
    let c = "#ifndef H\n#define H\n#define MS 1000\nint a(void) { }\nint helper(void) { }\nint b(void) { }\n#endif\n";
    let (c, rust) = (Source::new(Side::C, "c/h.h", c), Source::new(Side::Rust, "src/h.rs", rust));
    [Pair { name: "h".into(), c, rust }]
}

#[test]
fn shared_constants_and_functions_that_differ_are_shown() {
    let differences = |rust: &str| {
        let constants = differing(&shared(rust), "", |_, source| source.constants.clone());
        let functions = differing(&shared(rust), "", |pair, source| public_functions(&[], pair, source));
        [constants, functions].concat().concat()
    };
    assert_eq!(differences("const MS: u16 = 1_000;\npub fn a() {}\npub fn b() {}\nfn own() {}\n"), "");
    assert!(differences("const MS: u16 = 999;\npub fn a() {}\n").contains("|    1  MS = 999"));
    assert!(differences("const MS: u16 = 1000;\npub fn b() {}\npub fn a() {}\n").contains("<"));
    assert!(differences("const MS: u16 = 1000;\npub fn a() {}\npub fn c() {}\n").contains(">    3  c()"));
}

#[test]
fn a_table_entry_that_is_not_needed_is_found() {
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
