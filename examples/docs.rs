//! Generates the manual pages and the shell completions from the command line: `make docs`.
//!
//! The sections of a page that clap does not know, from SIGNALS on, are in man/sections.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// The date of the last change to the text of the pages.
const DATE: &str = "2026-11-27";

fn main() {
    for (file, text) in files() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        fs::create_dir_all(file.parent().expect("every file is in a folder"))
            .expect("the folder can be created");
        fs::write(file, text).expect("the file can be written");
    }
}

/// Every generated file: its name and its content.
pub fn files() -> Vec<(String, String)> {
    let mut tree = prise::inside::command().disable_help_subcommand(true);
    tree.build();
    let mut files = vec![("man/prise.1".to_string(), page(&tree))];
    for command in tree.get_subcommands() {
        files.push((format!("man/{}.1", page_name(command)), page(command)));
    }
    // the completions include `prise help COMMAND`; the pages do not
    let tree = prise::inside::command();
    for (shell, file) in [(Shell::Bash, "prise.bash"), (Shell::Zsh, "_prise"), (Shell::Fish, "prise.fish")] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut tree.clone(), "prise", &mut text);
        files.push((format!("completions/{file}"), utf8(text)));
    }
    files
}

/// A page: the sections that clap knows, then those of man/sections.
fn page(command: &Command) -> String {
    let command = &with_joined_helps(command);
    let name = page_name(command);
    let source = format!("prise {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name.to_uppercase()).date(DATE).source(source);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace('-', "\\-");
    let mut page = rendered(|out| man.render_title(out));
    page += &rendered_body(|out| man.render_name_section(out));
    page += &format!(".SH SYNOPSIS\n.nf\n{usage}\n.fi\n");
    page += &rendered_body(|out| man.render_description_section(out));
    match name {
        "prise" => page += &commands(command),
        "prise-client" | "prise-server" => page += &programs(command),
        _ => page += &rendered_body(|out| man.render_options_section(out)),
    }
    let sections = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("man/sections/{name}.man"));
    page + &fs::read_to_string(&sections).unwrap_or_else(|error| panic!("{}: {error}", sections.display()))
}

/// The COMMANDS section: each command's page.
fn commands(tree: &Command) -> String {
    let mut text = ".SH COMMANDS\n".to_string();
    for command in tree.get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text += &format!(".TP\n.BR {} (1)\n{about}\n", page_name(command).replace('-', "\\-"));
    }
    text
}

/// The PROGRAMS section of `prise client` or `prise server`: each program with its options.
fn programs(command: &Command) -> String {
    let mut text = ".SH PROGRAMS\n".to_string();
    for program in command.get_subcommands() {
        let program = with_joined_helps(program);
        let man = Man::new(program.clone());
        let usage = program.clone().render_usage().to_string();
        text += &format!(".SS {}\n", usage.trim_start_matches("Usage: ").replace('-', "\\-"));
        for body in [
            rendered_body(|out| man.render_description_section(out)),
            rendered_body(|out| man.render_options_section(out)),
        ] {
            // without the line with the section's name
            text += body.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }
    text
}

/// The command, with the paragraphs of each option's help joined by full stops: clap_mangen runs them together.
fn with_joined_helps(command: &Command) -> Command {
    command.clone().mut_args(|option| match option.get_long_help().map(ToString::to_string) {
        Some(help) => option.long_help(help.replace("\n\n", ".\n")),
        None => option,
    })
}

/// The name of a command's page, such as `prise-serve`.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The output of a clap_mangen renderer.
fn rendered(render: impl Fn(&mut dyn Write) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    render(&mut text).expect("a Vec takes everything");
    // before possible values, it writes two line breaks with an empty line between them
    utf8(text).replace("\n\n", "\n").replace(".br\n.br\n", ".br\n")
}

/// The same from the section's name on, without the header lines of the page.
fn rendered_body(render: impl Fn(&mut dyn Write) -> std::io::Result<()>) -> String {
    let text = rendered(render);
    text.find(".SH ").map_or(String::new(), |start| text[start..].to_string())
}

fn utf8(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("generated files are text")
}
