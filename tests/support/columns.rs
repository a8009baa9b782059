//! Text in columns side by side, as wide as the terminal.

use similar::{Algorithm, DiffTag, capture_diff_slices};

/// How many spaces separate two columns.
const GAP: usize = 3;

/// The widest line: the terminal's width, else COLUMNS, else 160.
pub fn terminal_width() -> usize {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal_size::terminal_size().map(|(width, _)| width.0.into()).or_else(columns).unwrap_or(160)
}

/// A row: for each column the index of its line, `None` where the cell is empty.
pub type Row = Vec<Option<usize>>;

/// Align columns of keys: lines with the same key come into the same row. Each column is compared with the last one.
/// A line with an empty key equals no other line.
pub fn align(columns: &[Vec<String>]) -> Vec<Row> {
    // each empty key gets its own number, so that no two are equal
    let numbered = |(n, column): (usize, &Vec<String>)| -> Vec<(String, usize)> {
        let key = |(i, key): (usize, &String)| (key.clone(), if key.is_empty() { n << 20 | i } else { 0 });
        column.iter().enumerate().map(key).collect()
    };
    let columns: Vec<Vec<(String, usize)>> = columns.iter().enumerate().map(numbered).collect();
    let (last, others) = columns.split_last().expect("there is a column");
    // for each line of the last column, the equal line of each other column
    let mut same: Vec<Row> = vec![vec![None; others.len()]; last.len()];
    for (n, other) in others.iter().enumerate() {
        for op in capture_diff_slices(Algorithm::Myers, other, last) {
            if op.tag() == DiffTag::Equal {
                op.old_range().zip(op.new_range()).for_each(|(theirs, i)| same[i][n] = Some(theirs));
            }
        }
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut next = vec![0; others.len()];
    // lines that only the last column has: they come into the next block of unequal rows
    let mut unmatched = Vec::new();
    let ends: Row = others.iter().map(|other| Some(other.len())).collect();
    for (i, anchors) in same.iter().chain([&ends]).enumerate() {
        if anchors.iter().any(Option::is_some) {
            let before: Vec<Vec<usize>> = (0..others.len())
                .map(|n| (next[n]..anchors[n].unwrap_or(next[n])).collect())
                .chain([std::mem::take(&mut unmatched)])
                .collect();
            rows.extend(unequal_rows(&before));
            for (next, anchor) in next.iter_mut().zip(anchors) {
                *next = anchor.map_or(*next, |at| at + 1);
            }
            let ours = (i < last.len()).then_some(i);
            rows.extend(ours.map(|i| anchors.iter().copied().chain([Some(i)]).collect::<Row>()));
        } else {
            unmatched.push(i);
        }
    }
    rows
}

/// Rows of lines that are not equal: each column fills its cells from the top.
fn unequal_rows(columns: &[Vec<usize>]) -> Vec<Row> {
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    (0..height).map(|i| columns.iter().map(|lines| lines.get(i).copied()).collect()).collect()
}

/// Format rows of cells: each cell is wrapped to its column's width, and the row's mark precedes it.
pub fn text(rows: &[(char, Vec<String>)], width: usize) -> String {
    let columns = rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(1);
    let wide = (width.saturating_sub(2 + GAP * (columns - 1)) / columns).max(16);
    let mut text = String::new();
    for (mark, cells) in rows {
        let wrapped: Vec<Vec<String>> = cells.iter().map(|cell| wrap(cell, wide)).collect();
        for i in 0..wrapped.iter().map(Vec::len).max().unwrap_or(0) {
            let cell = |lines: &Vec<String>| {
                let line = lines.get(i).map_or("", String::as_str);
                format!("{line}{}", " ".repeat(wide.saturating_sub(line.chars().count())))
            };
            let line = wrapped.iter().map(cell).collect::<Vec<_>>().join(&" ".repeat(GAP));
            text.push_str(format!("{mark} {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

/// Split a cell into lines of at most `wide` characters; continuation lines are indented.
fn wrap(cell: &str, wide: usize) -> Vec<String> {
    let indent = " ".repeat(cell.chars().take_while(|c| *c == ' ').count().min(wide / 2) + 2);
    let mut rest: Vec<char> = cell.chars().collect();
    let mut lines = Vec::new();
    while rest.len() > wide {
        // break after a space or a comma in the second half, if there is one
        let at = (wide / 2 + 1..=wide).rev().find(|&at| [' ', ','].contains(&rest[at - 1])).unwrap_or(wide);
        let more = rest.split_off(at);
        lines.push(rest.into_iter().collect());
        rest = indent.chars().chain(more).collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

/// Format columns of lines below their titles; `|` marks a row whose cells are not all equal.
pub fn compared(titles: &[String], columns: &[Vec<String>], width: usize) -> String {
    let rows = align(columns).into_iter().map(|row| {
        let cells: Vec<String> = row
            .iter()
            .zip(columns)
            .map(|(line, column)| line.map_or(String::new(), |i| column[i].clone()))
            .collect();
        let same = row.iter().all(Option::is_some) && cells.iter().all(|cell| *cell == cells[0]);
        (if same { ' ' } else { '|' }, cells)
    });
    let title = (' ', titles.to_vec());
    text(&[title].into_iter().chain(rows).collect::<Vec<_>>(), width)
}
