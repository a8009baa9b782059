//! A program as the mirror sees it: its functions, and in each one its comments, calls, texts and
//! variables, in the order of the file.

use std::sync::LazyLock;

use regex::Regex;
use tree_sitter::Node;

pub use crate::support::syntax::Side;
use crate::support::syntax::{DIRECTIVE, children, declared_name, flat, line, literal, parse};

/// What of a program is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Function,
    Comment,
    /// A call, a field or errno that is assigned, or a way out of a loop or of the function.
    Call,
    /// What a call prints.
    Printed,
    /// A text that no call prints as it stands: a request, a greeting.
    Sent,
    Variable,
}

/// One thing in a file: as it is shown, and the key by which the two languages are compared.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: Kind,
    pub line: usize,
    pub text: String,
    pub key: String,
}

impl Item {
    pub fn new(kind: Kind, line: usize, text: &str, key: &str) -> Item {
        Item { kind, line, text: text.into(), key: key.into() }
    }
}

pub struct Function {
    pub name: String,
    /// Whether it is a `pub fn`; C's are not told apart.
    pub public: bool,
    /// The function itself, then what is in it.
    pub items: Vec<Item>,
}

pub struct Source {
    pub path: String,
    pub side: Side,
    pub text: String,
    pub functions: Vec<Function>,
    /// `NAME = value`, of `#define` and of `const`.
    pub constants: Vec<Item>,
}

impl Source {
    /// Read a file, given by its path from the crate.
    pub fn read(side: Side, path: &str) -> Source {
        let text = std::fs::read_to_string(crate::support::root().join(path));
        Source::new(side, path, &text.unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    pub fn new(side: Side, path: &str, text: &str) -> Source {
        let (code, tree) = parse(side, path, text);
        let mut source =
            Source { path: path.into(), side, text: text.into(), functions: vec![], constants: vec![] };
        let mut add = |node: Node| match node.kind() {
            "function_definition" | "function_item" => source.functions.push(function(&code, node)),
            "preproc_def" | "const_item" => source.constants.extend(constant(&code, node)),
            _ => {}
        };
        for node in children(tree.root_node()) {
            add(node);
            // the guard of a header holds all that the header has
            if node.kind() == "preproc_ifdef" {
                children(node).for_each(&mut add);
            }
        }
        source
    }

    /// Take a function out, into a source of its own.
    pub fn split_off(&mut self, name: &str) -> Source {
        let functions = self.functions.extract_if(.., |function| function.name == name).collect();
        Source { path: self.path.clone(), side: self.side, text: String::new(), functions, constants: vec![] }
    }

    /// The items of some kinds, of all its functions.
    pub fn items(&self, kinds: &[Kind]) -> Vec<Item> {
        let items = self.functions.iter().flat_map(|function| &function.items);
        items.filter(|item| kinds.contains(&item.kind)).cloned().collect()
    }
}

fn constant(code: &str, node: Node) -> Option<Item> {
    let name = flat(code, node.child_by_field_name("name")?);
    let value = flat(code, node.child_by_field_name("value")?).replace('_', "");
    let text = format!("{name} = {value}");
    Some(Item::new(Kind::Call, line(node), &text, &text))
}

fn function(code: &str, node: Node) -> Function {
    let name = declared_name(code, node);
    let public = children(node).any(|child| child.kind() == "visibility_modifier");
    let title = Item::new(Kind::Function, line(node), &format!("{name}()"), &format!("{name}()"));
    let mut walk = Walk { code, items: vec![title] };
    walk.children(node);
    Function { name, public, items: walk.items }
}

/// The calls whose first argument is a text for stdout or stderr.
const PRINTING: [&str; 5] = ["printf", "puts", "perror", "herror", "back_off"];

struct Walk<'a> {
    code: &'a str,
    items: Vec<Item>,
}

impl Walk<'_> {
    fn push(&mut self, kind: Kind, node: Node, text: &str, key: &str) {
        self.items.push(Item::new(kind, line(node), text, key));
    }

    fn children(&mut self, node: Node) {
        children(node).for_each(|child| self.node(child));
    }

    fn node(&mut self, node: Node) {
        let field = |name| node.child_by_field_name(name);
        match node.kind() {
            "comment" | "line_comment" | "block_comment" => {
                let text = flat(self.code, node);
                self.push(Kind::Comment, node, &text, &text);
            }
            "call_expression" => self.call(node),
            "assignment_expression" => {
                let left = field("left").map(|left| (left.kind(), flat(self.code, left)));
                let left = left.filter(|(kind, name)| *kind == "field_expression" || name == "errno");
                let text = left.map(|(_, name)| format!("{name} ="));
                text.into_iter().for_each(|text| self.push(Kind::Call, node, &text, &text));
                self.children(node);
            }
            "string_literal" => {
                let text = DIRECTIVE.replace_all(literal(self.code, node), "{}").into_owned();
                self.push(Kind::Sent, node, &format!("{text:?}"), &text);
            }
            // the options that a client takes: src/cli.rs has them; the "C" of an extern "C" fn
            "initializer_list" | "extern_modifier" => {}
            // the break of a case: Rust's arms end by themselves
            "break_statement" if node.parent().is_some_and(|parent| parent.kind() == "case_statement") => {}
            "break_statement" | "break_expression" | "continue_statement" | "continue_expression" => {
                let text = flat(self.code, node);
                self.push(Kind::Call, node, &text, text.trim_end_matches(';'));
            }
            "return_statement" | "return_expression" => self.leave(node, node.named_child(0)),
            "try_expression" => self.try_expression(node),
            "block" if node.parent().is_some_and(|parent| parent.kind() == "function_item") => {
                self.body(node)
            }
            "declaration" | "parameter_declaration" => self.c_variables(node),
            "let_declaration" | "parameter" | "let_condition" | "match_arm" | "for_expression" => {
                field("pattern").into_iter().for_each(|pattern| self.rust_variables(pattern));
                self.children(node);
            }
            _ => self.children(node),
        }
    }

    fn call(&mut self, node: Node) {
        let callee = node.child_by_field_name("function").expect("a call has a function");
        let arguments = node.child_by_field_name("arguments").expect("a call has arguments");
        let mut name = flat(self.code, callee);
        match callee.kind() {
            // perror("…")(errno): only the inner call has a name
            "call_expression" => {
                self.children(node);
                return;
            }
            // a method: what it is called on comes first
            "field_expression" => {
                self.children(callee);
                let method = callee.child_by_field_name("field").expect("a method has a name");
                name = format!(".{}", flat(self.code, method));
            }
            _ => {}
        }
        let words: Vec<_> = children(arguments).map(|argument| word(&flat(self.code, argument))).collect();
        // a text and what fills it are compared apart; from the third argument on, C says lengths that
        // a slice knows; C's errno is a global, Rust's an argument
        let spoken = words.first().is_some_and(String::is_empty);
        let named = words.iter().take(if spoken { 0 } else { 2 }).filter(|word| *word != "errno");
        let key = format!("{name}({})", named.cloned().collect::<Vec<_>>().join(", "));
        self.push(Kind::Call, callee, &format!("{name}{}", flat(self.code, arguments)), &key);
        if PRINTING.contains(&name.as_str()) {
            self.printed(&name, arguments, &words);
        } else {
            self.children(arguments);
        }
    }

    /// What a printing call says, each directive filled with the name of what it prints.
    fn printed(&mut self, name: &str, arguments: Node, words: &[String]) {
        let Some(first) = children(arguments).next() else { return };
        let mut rest = words.iter().skip(1);
        let said = if first.kind() == "string_literal" {
            let fill = |found: &regex::Captures| match found[0].trim_matches(['{', '}']) {
                inline if found[0].starts_with('{') && !inline.is_empty() => format!("{{{inline}}}"),
                _ => format!("{{{}}}", rest.next().map_or("?", String::as_str)),
            };
            DIRECTIVE.replace_all(literal(self.code, first), fill).into_owned()
        } else {
            format!("{{{}}}", words[0])
        };
        let text = format!("{name} \"{said}\"");
        self.push(Kind::Printed, arguments, &text, &text);
        children(arguments)
            .filter(|child| child.kind() != "string_literal")
            .for_each(|child| self.node(child));
    }

    /// A way out: C's `return 1` is Rust's `?`, C's `return 0` is Rust's `Ok(())`.
    fn leave(&mut self, node: Node, value: Option<Node>) {
        let text = flat(self.code, node);
        match value.map(|value| flat(self.code, value)).as_deref() {
            Some("0" | "Ok(())") => self.push(Kind::Call, node, &text, "return 0"),
            Some("1") => self.push(Kind::Call, node, &text, "return 1"),
            _ => {
                self.push(Kind::Call, node, &text, "return");
                value.into_iter().for_each(|value| self.node(value));
            }
        }
    }

    fn try_expression(&mut self, node: Node) {
        self.children(node);
        // .map_err? or .ok_or_else?, by what stands before the question mark
        let method = (node.named_child(0).and_then(|inner| inner.child_by_field_name("function")))
            .and_then(|function| function.child_by_field_name("field"))
            .map_or(String::new(), |method| format!(".{}", flat(self.code, method)));
        let end = node.end_position().row + 1;
        self.items.push(Item::new(Kind::Call, end, &format!("{method}?"), "return 1"));
    }

    /// The body of a Rust function: a value at its end is what it returns, unless it returns never.
    fn body(&mut self, block: Node) {
        let function = block.parent().expect("a body has a function");
        let never =
            function.child_by_field_name("return_type").is_none_or(|kind| flat(self.code, kind) == "!");
        let is_value = |last: &Node| last.kind().ends_with("_expression") || last.kind() == "integer_literal";
        let last = children(block).last().filter(|last| !never && is_value(last));
        for child in children(block) {
            if Some(child) == last { self.leave(child, last) } else { self.node(child) }
        }
    }

    fn c_variables(&mut self, node: Node) {
        for declarator in node.children_by_field_name("declarator", &mut node.walk()) {
            let name = match declarator.kind() {
                "identifier" => flat(self.code, declarator),
                _ => declared_name(self.code, declarator),
            };
            self.push(Kind::Variable, declarator, &name, &name);
        }
        self.children(node);
    }

    fn rust_variables(&mut self, pattern: Node) {
        let text = flat(self.code, pattern);
        // None and Child are identifiers to the parser, but no variables
        if pattern.kind() == "identifier" && !text.starts_with(char::is_uppercase) {
            self.push(Kind::Variable, pattern, &text, text.trim_start_matches('_'));
        }
        children(pattern).for_each(|child| self.rust_variables(child));
    }
}

/// What C puts before the address of a structure.
static CAST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\(struct \w+ \*\)").expect("the expression is valid"));

/// The name that an argument begins with, alike in both languages: `sock` of `&sock`, `sock.as_raw_fd()`;
/// `buffer` of `buffer + len`, `&mut buffer[len..]`; nothing of a text.
fn word(argument: &str) -> String {
    if argument.starts_with("b\"") {
        return String::new();
    }
    let bare = CAST.replace(argument, "");
    let bare = bare.trim_start_matches(['&', '*']).trim_start_matches("mut ");
    let end = bare.find(|c: char| !c.is_alphanumeric() && !"_.:".contains(c)).unwrap_or(bare.len());
    let name = bare[..end].rsplit("::").next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((owner, _method)) if bare[end..].starts_with('(') => owner.into(),
        _ => name.into(),
    }
}
