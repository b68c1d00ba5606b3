//! Tables of `kubectl get`: TigeraStatus, pods and events.

use super::part::{MessageText, Part};

/// A kind of table, by columns of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Statuses,
    Pods,
    Events,
}

impl Table {
    fn of(header: &str) -> Option<Self> {
        let columns: Vec<&str> = header.split_whitespace().collect();
        let has = |names: &[&str]| names.iter().all(|name| columns.contains(name));
        match () {
            () if has(&["NAME", "AVAILABLE", "PROGRESSING", "DEGRADED"]) => Some(Self::Statuses),
            () if has(&["NAME", "READY", "STATUS", "RESTARTS"]) => Some(Self::Pods),
            () if has(&["TYPE", "REASON", "OBJECT", "MESSAGE"]) => Some(Self::Events),
            () => None,
        }
    }
}

/// Whether a line is the header of a table.
pub(super) fn is_header(line: &str) -> bool {
    Table::of(line).is_some()
}

/// Reads a table at the start of lines, and the number of its lines. A blank line or another header ends it.
pub(super) fn read(lines: &[&str]) -> Option<(Vec<Part>, usize)> {
    let (header, rows) = lines.split_first()?;
    let table = Table::of(header)?;
    let length = rows.iter().position(|row| row.is_empty() || is_header(row)).unwrap_or(rows.len());
    let rows = &rows[..length];
    let parts = match table {
        Table::Statuses => statuses(header, rows),
        Table::Pods => rows.iter().filter_map(|row| pod(header, row)).collect(),
        Table::Events => rows.iter().filter_map(|row| event(row)).collect(),
    };
    Some((parts, length + 1))
}

/// Returns the rows of TigeraStatus. A message of several lines goes on in the rows below.
fn statuses(header: &str, rows: &[&str]) -> Vec<Part> {
    let mut parts = Vec::new();
    for row in rows {
        match (status(header, row), parts.last_mut()) {
            (Some(part), _) => parts.push(part),
            (None, Some(Part::Message { text, .. })) => {
                text.folded.push(' ');
                text.folded.push_str(row.trim());
            }
            (None, _) => {}
        }
    }
    parts
}

/// Returns one row of TigeraStatus; `None` where the line goes on with a message.
fn status(header: &str, row: &str) -> Option<Part> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let name = words.first().filter(|_| !row.starts_with(' '))?;
    let is_status = |word: &&&str| matches!(**word, "True" | "False" | "Unknown");
    let written: Vec<&&str> = words.iter().skip(1).take_while(is_status).collect();
    // A new status has empty columns: then the place counts.
    let degraded = match written.as_slice() {
        [_, _, degraded] => **degraded,
        _ => column(header, row, "DEGRADED").unwrap_or_default(),
    };
    if written.is_empty() && degraded.is_empty() && words.len() > 2 {
        return None;
    }
    let object = format!("TigeraStatus {name}");
    if degraded != "True" {
        let progressing = matches!(written.as_slice(), [_, progressing, _] if ***progressing == *"True");
        let progressing = if progressing { ", still progressing" } else { "" };
        return Some(Part::Healthy(format!("{object}: not degraded{progressing}")));
    }
    let message = header.find("MESSAGE").and_then(|start| row.get(start..)).map(str::trim).unwrap_or_default();
    Some(match message {
        "" => Part::Silent {
            object,
            command: format!("kubectl get tigerastatus {name} -o yaml | imageset-controller explain -"),
        },
        message => Part::Message { object: Some(object), text: MessageText::from(message.to_owned()), command: None },
    })
}

/// Returns the word of a row under a column of the header.
fn column<'a>(header: &str, row: &'a str, name: &str) -> Option<&'a str> {
    row.get(header.find(name)?..)?.split_whitespace().next()
}

/// Returns one row of pods. Init containers have `Init:` in front of their status.
fn pod(header: &str, row: &str) -> Option<Part> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let place = header.split_whitespace().position(|column| column == "NAME")?;
    let (name, ready, status) = (words.get(place)?, words.get(place + 1)?, words.get(place + 2)?);
    let (object, flag) = match place.checked_sub(1).and_then(|namespace| words.get(namespace)) {
        Some(namespace) => (format!("Pod {namespace}/{name}"), format!("-n {namespace} ")),
        None => (format!("Pod {name}"), String::new()),
    };
    let status = status.strip_prefix("Init:").unwrap_or(status);
    let all_ready = ready.split_once('/').is_some_and(|(ready, all)| ready == all);
    let healthy = matches!(status, "Completed" | "Succeeded" | "Terminating") || status == "Running" && all_ready;
    let begins = status.split_once('/').is_some_and(|(done, _)| done.bytes().all(|byte| byte.is_ascii_digit()));
    let text = match status {
        _ if healthy => return Some(Part::Healthy(format!("{object}: {status}"))),
        "Running" => "is running but not ready".to_owned(),
        "Pending" => "is pending".to_owned(),
        "Error" => "has terminated container".to_owned(),
        _ if begins => "PodInitializing".to_owned(),
        status => status.to_owned(),
    };
    let command = format!("kubectl {flag}describe pod {name} | imageset-controller explain -");
    Some(Part::Message { object: Some(object), text: MessageText::from(text), command: Some(command) })
}

/// Returns one event: a row, or a line of `kubectl describe`. Of events of type Normal, only a back-off says something.
pub(super) fn event(row: &str) -> Option<Part> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let place = words.iter().take(8).position(|word| matches!(*word, "Warning" | "Normal"))?;
    let reason = words.get(place + 1)?;
    if words[place] == "Normal" && *reason != "BackOff" {
        return None;
    }
    let object = words.get(place + 2).and_then(|object| object.split_once('/'));
    let object = object.filter(|(kind, name)| is_kind(kind) && !name.contains('/')).map(|(kind, name)| {
        let mut kind = kind.to_owned();
        kind[..1].make_ascii_uppercase();
        format!("{kind} {name}")
    });
    let text = words[place + 1..].join(" ");
    Some(Part::Message { object, text: MessageText::from(text), command: None })
}

/// Whether a text is a kind as events write it, such as `pod` or `daemonset`.
fn is_kind(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
}
