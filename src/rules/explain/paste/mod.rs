//! Text as people have it on the screen: messages, tables and descriptions of kubectl, lines of logs, several of them together. Split into
//! parts, each about one object; then each part is explained, the worst first.

mod describe;
mod logs;
mod message;
mod objects;
mod part;
mod problem;
mod table;

pub use problem::{Explanation, Problem};

use serde_json::Value;

use crate::model::Reason;
use crate::rules::explain::find_row;
use part::{MessageText, Part};
use problem::MOST_PROBLEMS;

/// Explains a text. `objects` are the documents of the text, if it is YAML or JSON.
#[must_use]
pub fn explain(text: &str, objects: &[Value]) -> Explanation {
    let mut parts = objects::parts(objects);
    if parts.is_empty() {
        parts = text_parts(text);
    }
    let mut explanation = Explanation::default();
    for part in parts {
        match part {
            Part::Healthy(object) if explanation.healthy.len() < MOST_PROBLEMS => explanation.healthy.push(object),
            Part::Healthy(_) => {}
            Part::Message { object, text, command } => {
                for mut problem in message::explain(&text) {
                    problem.object.clone_from(&object);
                    problem.command = command.clone().filter(|_| problem.row.reason == Reason::PullFailed);
                    explanation.add(problem);
                }
            }
            Part::Silent { object, command } => {
                let row = find_row(Reason::DegradedUnexplained, None);
                let silent = |row| Problem { object: Some(object), row, names: Vec::new(), command: Some(command) };
                row.map(silent).into_iter().for_each(|problem| explanation.add(problem));
            }
        }
    }
    explanation.finish()
}

/// Splits text that is no object into parts.
fn text_parts(text: &str) -> Vec<Part> {
    let is_prompt = |line: &&str| line.starts_with("$ ") || line.starts_with("% ") || line.starts_with("kubectl ");
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !is_prompt(line)).collect();
    let (mut parts, mut rest) = (Vec::new(), lines.as_slice());
    while let Some(first) = rest.first() {
        if first.is_empty() {
            rest = &rest[1..];
            continue;
        }
        let read = table::read(rest).or_else(|| describe::read(rest)).or_else(|| logs::read(rest));
        let (found, used) = read.unwrap_or_else(|| plain(rest));
        parts.extend(found);
        rest = rest.get(used.max(1)..).unwrap_or_default();
    }
    parts
}

/// Reads one message of plain text, which may be folded over lines, and the number of its lines.
fn plain(lines: &[&str]) -> (Vec<Part>, usize) {
    let ends = |line: &&str| line.is_empty() || begins_message(line) || table::is_header(line);
    let more = lines.iter().skip(1).position(ends).unwrap_or(lines.len() - 1);
    let lines = &lines[..=more];
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let wrapped = (lines.len() > 1).then(|| lines.concat());
    let object = object_in_front(lines.first().copied().unwrap_or_default());
    (vec![Part::Message { object, text: MessageText { folded: text, wrapped }, command: None }], lines.len())
}

/// Returns the object in front of a message, as events and people write it: `TigeraStatus calico: …`.
fn object_in_front(line: &str) -> Option<String> {
    let (object, _) = line.trim_start().split_once(": ")?;
    object.strip_prefix("TigeraStatus ").filter(|name| !name.contains(' '))?;
    Some(object.to_owned())
}

/// Starts of messages. A line with another start goes on with the message before.
const STARTS: [&str; 33] = [
    "Pod ",
    "Warning ",
    "Normal ",
    "Failed to ",
    "failed to pull",
    "Back-off ",
    "Error ",
    "Error: ",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "Unable to ",
    "ImageSet ",
    "ImageSets ",
    "TigeraStatus ",
    "Container image ",
    "time=\"",
    "FATA[",
    "ERRO[",
    "WARN[",
    "INFO[",
    "rpc error",
    "Message:",
    "Reason:",
    "State:",
    "message:",
    "reason:",
    "- ",
    "{",
    "Name:",
    "Invalid ",
    "invalid ",
    "Waiting ",
];

/// Whether a line begins another message: by its words, or by the time stamp of a log.
fn begins_message(line: &str) -> bool {
    let line = line.trim_start();
    let bytes = line.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let is_klog =
        matches!(bytes.first(), Some(b'E' | b'W' | b'I' | b'F')) && digits(1..5) && bytes.get(5) == Some(&b' ');
    let is_dated = digits(0..4) && matches!(bytes.get(4), Some(b'-' | b'/'));
    is_klog || is_dated || STARTS.iter().any(|start| line.starts_with(start))
}
