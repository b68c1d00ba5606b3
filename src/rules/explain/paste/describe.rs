//! `kubectl describe`: objects with conditions, such as TigeraStatus, and pods with states and events.

use super::part::{MessageText, Part};
use super::table::{self, event};

/// Fields of a condition, in the order in which kubectl prints them; `Type` is the last.
const CONDITION_FIELDS: [&str; 7] =
    ["Last Heartbeat Time", "Last Transition Time", "Message", "Observed Generation", "Reason", "Status", "Type"];

/// Reads an object at the start of lines, and the number of its lines. The next object begins with `Name:` in the first column.
pub(super) fn read(lines: &[&str]) -> Option<(Vec<Part>, usize)> {
    let name = field(lines.first()?, "Name").filter(|_| lines[0].starts_with("Name:"))?;
    let ends = |line: &&str| line.starts_with("Name:") || table::is_header(line);
    let length = 1 + lines.iter().skip(1).position(ends).unwrap_or(lines.len() - 1);
    let lines = &lines[..length];
    let top = |key: &str| lines.iter().filter(|line| !line.starts_with(' ')).find_map(|line| field(line, key));
    let parts = match top("Kind") {
        Some(kind) => vec![conditions(&format!("{kind} {name}"), lines)],
        None => pod(name, top("Namespace"), lines),
    };
    Some((parts, length))
}

/// Returns the value of a field, without the blanks around it.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    Some(line.trim_start().strip_prefix(key)?.strip_prefix(':')?.trim())
}

/// Returns the message of the condition Degraded, or that the object is healthy.
fn conditions(object: &str, lines: &[&str]) -> Part {
    let mut condition: Vec<(&str, String)> = Vec::new();
    for line in lines.iter().filter(|line| line.starts_with(' ')) {
        let found = CONDITION_FIELDS.iter().find_map(|key| Some((*key, field(line, key)?)));
        match (found, condition.last_mut()) {
            (Some(("Type", kind)), _) => {
                let of =
                    |key: &str| condition.iter().rev().find(|(name, _)| *name == key).map(|(_, text)| text.as_str());
                if kind == "Degraded" && of("Status") == Some("True") {
                    let text = [of("Reason"), of("Message")].into_iter().flatten().collect::<Vec<_>>().join(" | ");
                    return Part::Message {
                        object: Some(object.to_owned()),
                        text: MessageText::from(text),
                        command: None,
                    };
                }
                condition.clear();
            }
            (Some((key, text)), _) => condition.push((key, text.to_owned())),
            // A message of several lines.
            (None, Some(("Message", text))) => {
                text.push(' ');
                text.push_str(line.trim());
            }
            (None, _) => {}
        }
    }
    Part::Healthy(format!("{object}: not degraded"))
}

/// Returns why the containers of a pod wait or have ended, and what its events warn of.
fn pod(name: &str, namespace: Option<&str>, lines: &[&str]) -> Vec<Part> {
    let object = match namespace {
        Some(namespace) => format!("Pod {namespace}/{name}"),
        None => format!("Pod {name}"),
    };
    let of_object =
        |text: String| Part::Message { object: Some(object.clone()), text: MessageText::from(text), command: None };
    let mut parts: Vec<Part> = Vec::new();
    let mut in_state = false;
    let mut in_events = false;
    for line in lines {
        in_events |= line.starts_with("Events:");
        if let Some(Part::Message { text, .. }) = in_events.then(|| event(line)).flatten() {
            parts.push(of_object(text.folded));
        } else if in_events {
            // A message of several lines goes on.
            if let (Some(Part::Message { text, .. }), false) = (parts.last_mut(), is_heading(line)) {
                text.folded.push(' ');
                text.folded.push_str(line.trim());
            }
        } else if let Some(state) = field(line, "State").or_else(|| field(line, "Last State")) {
            in_state = matches!(state, "Waiting" | "Terminated");
        } else if let Some(reason) = field(line, "Reason").filter(|reason| in_state && *reason != "Completed") {
            parts.push(of_object(reason.to_owned()));
        } else if let (Some(message), Some(Part::Message { text, .. }), true) =
            (field(line, "Message"), parts.last_mut(), in_state)
        {
            text.folded.push_str(": ");
            text.folded.push_str(message);
        }
    }
    if parts.is_empty() {
        parts.push(Part::Healthy(format!("{object}: no container waits for an image")));
    }
    parts
}

/// Whether a line is the heading of events, or an event that says nothing.
fn is_heading(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    matches!(first, "" | "Type" | "Normal" | "Events:") || first.bytes().all(|byte| byte == b'-')
}
