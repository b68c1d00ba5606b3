//! Lines of JSON logs, as the operator writes them.

use serde_json::Value;

use super::message;
use super::part::{MessageText, Part};

/// The most lines over which a terminal breaks one line of a log.
const MOST_LINES: usize = 64;

/// Reads one entry of a JSON log, and the number of its lines.
pub(super) fn read(lines: &[&str]) -> Option<(Vec<Part>, usize)> {
    let first = lines.first()?;
    // `kubectl logs --prefix` and journald put something in front.
    let start = first.find("{\"")?;
    let mut text = String::new();
    for (number, line) in lines.iter().take(MOST_LINES).enumerate() {
        text.push_str(if number == 0 { &line[start..] } else { line });
        if text.ends_with('}')
            && let Ok(entry) = serde_json::from_str::<Value>(&text)
        {
            return Some((entry_parts(&entry), number + 1));
        }
    }
    None
}

/// Returns the message of an entry. What is not an error says something only if its words are known.
fn entry_parts(entry: &Value) -> Vec<Part> {
    let of = |key: &str| entry[key].as_str().filter(|text| !text.is_empty());
    let texts = ["reason", "msg", "message", "error", "err"].into_iter().filter_map(of);
    let text = texts.collect::<Vec<_>>().join(": ");
    let is_error = matches!(of("level"), Some("error" | "fatal" | "panic" | "dpanic")) || of("error").is_some();
    match text.is_empty() || !is_error && !message::is_known(&text) {
        true => Vec::new(),
        false => vec![Part::Message { object: None, text: MessageText::from(text), command: None }],
    }
}
