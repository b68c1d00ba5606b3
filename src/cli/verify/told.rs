//! What `verify` found, for people, for programs and for the lines of a review. Pure.

use serde::Serialize;

use super::Verified;
use crate::cli::output::{Answer, Failure};
use crate::cli::registry::place_of;
use crate::model::reason::Reason;
use crate::rules::verification::Mismatch;

impl Verified {
    /// `imageset.yaml:12`, or `ImageSet calico-v3.32.1` in a cluster.
    fn place(&self, mismatch: Option<&Mismatch>) -> String {
        match (&self.set.file, mismatch) {
            (Some((file, ..)), Some(mismatch)) => format!("{file}:{}", self.line(mismatch)),
            (Some((file, ..)), None) => format!("{file}: ImageSet {}", self.set.name),
            (None, _) => format!("ImageSet {}", self.set.name),
        }
    }

    /// The line of an entry, or of the set.
    fn line(&self, mismatch: &Mismatch) -> usize {
        let Some((_, lines, whole)) = &self.set.file else { return 0 };
        mismatch.entry.and_then(|entry| lines.get(entry)).copied().unwrap_or(*whole)
    }

    /// What to do. What the policy would do for a cluster's set, people do for a file.
    fn next_step(&self, mismatch: &Mismatch) -> &'static str {
        match (&self.set.file, mismatch.reason) {
            (Some(_), Reason::FipsMismatch) => "name the cluster's mode with --fips, or have the set made anew for it",
            (Some(_), Reason::TagMoved) => "find out why; generate pins the new digest",
            _ => mismatch.next_step,
        }
    }

    /// Entries with which nothing is wrong.
    fn in_sync(&self) -> usize {
        let mut wrong: Vec<usize> = self.mismatches.iter().filter_map(|one| one.entry).collect();
        wrong.dedup();
        self.set.entries.len() - wrong.len()
    }
}

/// A sentence with the image in front, if one is meant.
fn sentence(mismatch: &Mismatch) -> String {
    let image = mismatch.image.as_ref().map(|image| format!("{image}: ")).unwrap_or_default();
    format!("{image}{}", mismatch.message)
}

/// For people.
pub(super) fn text(verified: &[Verified]) -> Answer {
    let mut lines = Vec::new();
    for one in verified {
        let (total, good) = (one.set.entries.len(), one.in_sync());
        let found = match one.set.stored {
            true => format!("{good} of {total} entries in sync with {}", place_of(&one.set.settings.layout)),
            false => "not stored".to_owned(),
        };
        lines.push(format!("{} for operator {}: {found}", one.place(None), one.set.images.release()));
        for mismatch in &one.mismatches {
            let could_not = if mismatch.known { "" } else { "could not tell: " };
            lines.push(format!(
                "  {}: {could_not}{}: {}",
                one.place(Some(mismatch)),
                mismatch.reason,
                sentence(mismatch)
            ));
            let next_step = one.next_step(mismatch);
            if !next_step.is_empty() {
                lines.push(format!("    → {next_step}"));
            }
        }
    }
    Answer::lines(lines)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    image_set: &'a str,
    operator_version: String,
    registry: String,
    entries: usize,
    in_sync: usize,
    mismatches: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    message: &'a str,
    next_step: &'static str,
    /// False where it could not be told.
    known: bool,
}

/// For programs.
pub(super) fn json(verified: &[Verified]) -> Result<Answer, Failure> {
    let sets: Vec<Set<'_>> = verified
        .iter()
        .map(|one| Set {
            file: one.set.file.as_ref().map(|(file, ..)| file.as_str()),
            image_set: &one.set.name,
            operator_version: one.set.images.release().to_string(),
            registry: place_of(&one.set.settings.layout),
            entries: one.set.entries.len(),
            in_sync: one.in_sync(),
            mismatches: one
                .mismatches
                .iter()
                .map(|mismatch| One {
                    reason: mismatch.reason,
                    image: mismatch.image.as_deref(),
                    line: one.set.file.is_some().then(|| one.line(mismatch)),
                    message: &mismatch.message,
                    next_step: one.next_step(mismatch),
                    known: mismatch.known,
                })
                .collect(),
        })
        .collect();
    let text = serde_json::to_string_pretty(&sets);
    text.map(Answer::text).map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))
}

/// Workflow commands of GitHub Actions: an annotation on the line of each entry.
pub(super) fn github(verified: &[Verified]) -> Answer {
    let mut lines = Vec::new();
    for one in verified {
        for mismatch in &one.mismatches {
            let level = if mismatch.known { "error" } else { "warning" };
            let place =
                one.set.file.as_ref().map(|(file, ..)| format!("file={},line={},", property(file), one.line(mismatch)));
            let message = format!("{}; {}", sentence(mismatch), one.next_step(mismatch));
            lines.push(format!(
                "::{level} {}title={}::{}",
                place.unwrap_or_default(),
                mismatch.reason,
                data(message.trim_end_matches("; "))
            ));
        }
    }
    Answer::commands(lines)
}

/// What stands after the colons.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// What stands between them.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
