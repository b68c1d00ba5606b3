//! Text in columns.

use console::{Alignment, measure_text_width, pad_str};

/// Returns the width of each column: that of its widest cell. Colours have none.
pub(in crate::cli) fn widths<'a>(rows: impl IntoIterator<Item = &'a [String]>) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for cells in rows {
        for (column, cell) in cells.iter().enumerate() {
            let width = measure_text_width(cell);
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    widths
}

/// Returns one row, with `gap` between its columns and no blanks at its end.
pub(in crate::cli) fn row(cells: &[String], widths: &[usize], gap: &str) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None));
    padded.collect::<Vec<_>>().join(gap).trim_end().to_owned()
}
