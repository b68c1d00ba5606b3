//! The parts of a pasted text.

/// A part of a text, about one object.
#[derive(Debug)]
pub(super) enum Part {
    /// The object is as it should be.
    Healthy(String),
    /// A message, the object that it is about, and the command that shows more of it.
    Message { object: Option<String>, text: MessageText, command: Option<String> },
    /// An object with a problem that the text does not name, and the command that names it.
    Silent { object: String, command: String },
}

/// A message of one or more lines.
#[derive(Debug)]
pub(super) struct MessageText {
    /// The lines, joined by spaces.
    pub folded: String,
    /// The lines joined without spaces, as a terminal breaks them.
    pub wrapped: Option<String>,
}

impl From<String> for MessageText {
    fn from(text: String) -> Self {
        Self { folded: text, wrapped: None }
    }
}

/// Returns the text with every run of white space as one space.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
