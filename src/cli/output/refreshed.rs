//! Output that is shown again whenever it changes.

use std::io;

use console::Term;

use super::{Failure, Output, write_output};

/// Output that replaces the previous one on a terminal, and follows it elsewhere.
#[derive(Default)]
pub struct Refreshed {
    /// Lines of the previous output; `None` before the first.
    lines: Option<usize>,
}

impl Refreshed {
    /// Whether standard output is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        Term::stdout().is_term()
    }

    /// Shows an output now. Between documents of YAML stands the separator of YAML.
    ///
    /// # Errors
    /// The output could not be written; the reader may have gone away.
    pub fn show(&mut self, output: &Output, yaml: bool) -> Result<(), Failure> {
        let terminal = Term::stdout();
        let shown = match (self.lines, terminal.is_term()) {
            (Some(lines), true) if lines < usize::from(terminal.size().0) => terminal.clear_last_lines(lines),
            (_, true) => terminal.clear_screen(),
            (Some(_), false) => terminal.write_line(if yaml { "---" } else { "" }),
            (None, false) => Ok(()),
        };
        let shown = shown.and_then(|()| write_output(&mut io::stdout().lock(), output, console::colors_enabled()));
        self.lines = Some(output.text.trim_end_matches('\n').lines().count());
        shown.map_err(|error| Failure::new(format!("the answer could not be written: {error}")))
    }
}
