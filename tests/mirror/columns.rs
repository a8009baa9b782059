//! Compares two columns, C on the left and Rust on the right, and formats their differences.

use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices, group_diff_ops};

use crate::source::Item;

/// The width of a column, and the number of equal rows shown around a difference.
const WIDTH: usize = 66;
const CONTEXT: usize = 3;

/// One side of a comparison.
pub struct Column {
    pub path: String,
    pub items: Vec<Item>,
}

/// `None` if both columns have the same keys in the same order; otherwise the differing rows and their context. `|`
/// marks cells that differ, `<` a cell that only C has, `>` one that only Rust has.
pub fn differences(what: &str, c: &Column, rust: &Column) -> Option<String> {
    let keys = |column: &Column| column.items.iter().map(|item| item.key.clone()).collect::<Vec<_>>();
    let ops = capture_diff_slices(Algorithm::Patience, &keys(c), &keys(rust));
    if ops.iter().all(|op| op.tag() == DiffTag::Equal) {
        return None;
    }
    let mut text =
        format!("{what}\n{}\n", row(&format!("      {}", c.path), ' ', &format!("      {}", rust.path)));
    for (i, group) in group_diff_ops(ops, CONTEXT).into_iter().enumerate() {
        if i > 0 {
            text.extend([row("   …", ' ', "   …").as_str(), "\n"]);
        }
        for op in group {
            rows(&op, c, rust).iter().for_each(|row| text.extend([row.as_str(), "\n"]));
        }
    }
    Some(text)
}

fn rows(op: &DiffOp, c: &Column, rust: &Column) -> Vec<String> {
    let (left, right) = (op.old_range(), op.new_range());
    let both = |i| {
        let left = c.items[left.clone()].get(i).map(cell);
        let right = rust.items[right.clone()].get(i).map(cell);
        let mark = match (&left, &right) {
            _ if op.tag() == DiffTag::Equal => ' ',
            (Some(_), Some(_)) => '|',
            (Some(_), None) => '<',
            _ => '>',
        };
        row(&left.unwrap_or_default(), mark, &right.unwrap_or_default())
    };
    (0..left.len().max(right.len())).map(both).collect()
}

fn cell(item: &Item) -> String {
    format!("{:>4}  {}", item.line, item.text)
}

fn row(left: &str, mark: char, right: &str) -> String {
    let cut = |cell: &str| match cell.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.into(),
    };
    format!("{:<width$} {mark} {}", cut(left), cut(right), width = WIDTH + 1).trim_end().into()
}
