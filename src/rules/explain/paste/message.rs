//! One message: of the operator, a kubelet or a runtime, whatever quotes it.

use std::collections::BTreeSet;

use super::part::{MessageText, one_line};
use super::problem::Problem;
use crate::catalogue::names;
use crate::model::{ImageName, Reason, Reference};
use crate::rules::explain::kubelet_messages::{classify_quoted, without_outer_quotes};
use crate::rules::explain::operator_messages::{OperatorMessage, Pull};
use crate::rules::explain::{find_row, other_causes};

/// Returns the problems that a message names; the row for unknown words if it names none. Of the two ways to join its lines, the one counts
/// that makes more sense.
pub(super) fn explain(message: &MessageText) -> Vec<Problem> {
    let folded = problems(&message.folded);
    let Some(wrapped) = message.wrapped.as_ref().map(|text| problems(text)) else { return folded };
    if sense(&wrapped) > sense(&folded) { wrapped } else { folded }
}

/// Returns how many problems are known, and how many of their names.
fn sense(problems: &[Problem]) -> (bool, usize, usize) {
    let known = problems.iter().filter(|problem| problem.row.reason != Reason::ComponentDegraded).count();
    let names = problems.iter().flat_map(|problem| &problem.names);
    let known_names =
        names.filter(|name| name.parse().is_ok_and(|name: ImageName| names::known().contains(&name))).count();
    (known > 0, known_names, known)
}

/// Whether the words of a message are known.
pub(super) fn is_known(text: &str) -> bool {
    problems(text).iter().any(|problem| problem.row.reason != Reason::ComponentDegraded)
}

fn problems(text: &str) -> Vec<Problem> {
    let text = one_line(text);
    // Messages of the operator have few quotes; YAML, JSON and people add some.
    let words = OperatorMessage::of("", &one_line(&text.replace(['\'', '"', '\\', '`'], " ")));
    let mut found = of_operator(words);
    let pull = classify_quoted(&text).map(Reason::from);
    if let Some(reason) = pull {
        add(&mut found, reason, None, image(&text).into_iter().collect());
    }
    let other = if found.is_empty() { other_causes::classify(&text) } else { None };
    let other = other.map(|reason| match reason {
        Reason::ComponentKindsMissing if other_causes::names_operator_kind(&text) => Reason::OperatorKindsMissing,
        reason => reason,
    });
    let beside = pull.and_then(|_| other_causes::beside_images(&text));
    if let Some(reason) = other.or(beside) {
        add(&mut found, reason, None, Vec::new());
    }
    if found.is_empty() {
        add(&mut found, Reason::ComponentDegraded, None, Vec::new());
    }
    found
}

fn add(found: &mut Vec<Problem>, reason: Reason, entry: Option<&str>, names: Vec<String>) {
    let problem = |row| Problem { object: None, row, names, command: None };
    found.extend(find_row(reason, entry).map(problem));
}

/// Returns the problems that the operator names.
fn of_operator(words: OperatorMessage) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(wanted) = words.wanted {
        add(&mut found, Reason::ExactImageSetMissing, None, vec![wanted]);
    }
    for name in &words.unexpected {
        add(&mut found, Reason::UnexpectedImages, Some(name.as_str()), vec![with_suggestion(name)]);
    }
    if !words.misspelt.is_empty() {
        let names: BTreeSet<String> = words.misspelt.iter().map(ToString::to_string).collect();
        add(&mut found, Reason::UnexpectedImages, None, names.into_iter().collect());
    }
    if !words.missing.is_empty() {
        add(&mut found, Reason::ImagesNotListed, None, words.missing.iter().map(ToString::to_string).collect());
    }
    if !words.bad_digests.is_empty() {
        add(&mut found, Reason::DigestsMalformed, None, words.bad_digests);
    }
    if !words.pulls.is_empty() {
        add(&mut found, Reason::PodsCannotPull, None, words.pulls.iter().map(pod).collect());
    }
    found
}

/// Returns the name, with a known one that it resembles.
fn with_suggestion(name: &ImageName) -> String {
    match names::suggest(name.as_str()) {
        Some(known) if known != name => format!("{name} (write {known})"),
        _ => name.to_string(),
    }
}

/// Returns the pod, its container, and the entry of the image.
fn pod(pull: &Pull) -> String {
    let Pull { pods, containers, image } = pull;
    match image {
        Some(image) => format!("{pods}: {containers}: {}", entry(image)),
        None => format!("{pods}: {containers}"),
    }
}

/// Returns the entry of an image, with the repository where the entry does not show it.
fn entry(image: &str) -> String {
    // A digest that is cut is no digest.
    let repository = image.split('@').next().unwrap_or(image);
    let Ok(reference) = repository.parse::<Reference>() else { return image.to_owned() };
    match reference.image_name() {
        Ok(name) if names::known().contains(&name) => format!("{name} ({})", reference.name()),
        _ => reference.name(),
    }
}

/// Returns the image that a kubelet or a runtime names.
fn image(text: &str) -> Option<String> {
    let text = without_outer_quotes(text);
    let quoted = text.split('"').skip(1).step_by(2);
    let bare = text.split_whitespace().filter(|word| word.contains("@sha256:")).map(|word| word.trim_end_matches(':'));
    let is_image = |word: &&str| {
        let repository = word.split('@').next().unwrap_or_default();
        word.contains('/') && !word.starts_with('/') && repository.parse::<Reference>().is_ok()
    };
    quoted.chain(bare).find(is_image).map(entry)
}
