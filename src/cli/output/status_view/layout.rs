//! Labels, columns and colours of the status view.

use console::Style;

use crate::cli::output::columns;

/// Between two columns.
const GAP: &str = "   ";

/// Blocks of lines, each with a label in front.
#[derive(Default)]
pub(super) struct View {
    blocks: Vec<(&'static str, Vec<Line>)>,
}

/// A line of a block.
pub(super) enum Line {
    /// Cells that are aligned with the cells of all other lines.
    Columns(Vec<String>),
    /// Free text.
    Text(String),
}

impl View {
    /// Adds a block. One without lines is not shown.
    pub fn add(&mut self, label: &'static str, lines: Vec<Line>) {
        if !lines.is_empty() {
            self.blocks.push((label, lines));
        }
    }

    /// Returns the text of all blocks.
    pub fn render(&self) -> String {
        let lines = self.blocks.iter().flat_map(|(_, lines)| lines);
        let rows = lines.filter_map(|line| if let Line::Columns(cells) = line { Some(cells.as_slice()) } else { None });
        let widths = columns::widths(rows);
        let labels = self.blocks.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
        let mut text = String::new();
        for (label, lines) in &self.blocks {
            for (index, line) in lines.iter().enumerate() {
                let label = if index == 0 { *label } else { "" };
                let text_of_line = match line {
                    Line::Text(text) => text.clone(),
                    Line::Columns(cells) => columns::row(cells, &widths, GAP),
                };
                let label = bold().apply_to(format!("{label:<labels$}")).to_string();
                // Others may have written the status: a line of it must not look like a block of this view.
                let shown = text_of_line.replace(['\n', '\r'], " ");
                text.push_str(format!("{label}{GAP}{shown}").trim_end());
                text.push('\n');
            }
        }
        text
    }
}

fn bold() -> Style {
    Style::new().bold()
}

pub(super) fn good() -> Style {
    Style::new().green()
}

pub(super) fn warn() -> Style {
    Style::new().yellow()
}

pub(super) fn bad() -> Style {
    Style::new().red()
}
