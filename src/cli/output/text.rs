//! What a verb prints to standard output, with its exit code.

/// Exit code for "it is not as it should be".
pub(super) const DRIFTED: u8 = 1;
/// Exit code for "could not tell" and "could not do it".
pub(super) const FAILED: u8 = 2;

/// The output of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    pub(super) text: String,
    pub(super) code: u8,
    pub(super) kind: Kind,
}

/// What kind of text an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// Lines for a person or a program.
    #[default]
    Lines,
    /// A file, byte for byte.
    File,
    /// Commands to a CI system, one per line.
    Commands,
}

impl Output {
    /// Returns output of this text; a missing newline at its end is added.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Returns the text of a file, byte for byte.
    #[must_use]
    pub fn file(text: String) -> Self {
        Self { kind: Kind::File, ..Self::text(text) }
    }

    /// Returns output of one line per item.
    #[must_use]
    pub fn lines<Line: ToString>(lines: impl IntoIterator<Item = Line>) -> Self {
        let lines = lines.into_iter().map(|line| line.to_string() + "\n");
        Self::text(lines.collect::<String>())
    }

    /// Returns output of one command to a CI system per line. The caller escapes foreign text in them.
    #[must_use]
    pub fn commands(lines: impl IntoIterator<Item = String>) -> Self {
        Self { kind: Kind::Commands, ..Self::lines(lines) }
    }

    /// Returns the same output with exit code 1: what was checked differs from what it should be.
    #[must_use]
    pub fn drifted(self) -> Self {
        Self { code: DRIFTED, ..self }
    }

    /// Returns the same output with exit code 2: it is incomplete, and contains the reason.
    #[must_use]
    pub fn incomplete(self) -> Self {
        Self { code: FAILED, ..self }
    }
}
