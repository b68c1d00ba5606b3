//! The result of `verify`, for people, for programs and for the lines of a review.

use serde::Serialize;

use super::VerifiedSet;
use crate::cli::flags::registry;
use crate::cli::output::{Failure, Output, serialized};
use crate::model::Reason;
use crate::rules::set_verification::Mismatch;

impl VerifiedSet {
    /// `imageset.yaml:12`, or `ImageSet calico-v3.32.1` in a cluster.
    fn place(&self, mismatch: Option<&Mismatch>) -> String {
        match (&self.set.file, mismatch) {
            (Some(file), Some(mismatch)) => format!("{}:{}", file.name, self.line(mismatch)),
            (Some(file), None) => format!("{}: ImageSet {}", file.name, self.set.name),
            (None, _) => format!("ImageSet {}", self.set.name),
        }
    }

    /// Returns the line of an entry, or of the set.
    fn line(&self, mismatch: &Mismatch) -> usize {
        let Some(file) = &self.set.file else { return 0 };
        mismatch.entry.and_then(|entry| file.entry_lines.get(entry)).copied().unwrap_or(file.line)
    }

    /// Returns the next step. What the policy does for a set of the cluster, people do for a file.
    fn next_step(&self, mismatch: &Mismatch) -> &'static str {
        match (&self.set.file, mismatch.reason) {
            (Some(_), Reason::FipsMismatch) => "name the cluster's mode with --fips, or have the set made anew for it",
            (Some(_), Reason::TagMoved) => "find out why; generate pins the new digest",
            _ => mismatch.next_step,
        }
    }

    /// Returns the number of entries without a mismatch.
    fn in_sync(&self) -> usize {
        let mut wrong: Vec<usize> = self.mismatches.iter().filter_map(|one| one.entry).collect();
        wrong.dedup();
        self.set.entries.len() - wrong.len()
    }
}

/// Returns the message, with the image in front if it is about one.
fn sentence(mismatch: &Mismatch) -> String {
    let image = mismatch.image.as_ref().map(|image| format!("{image}: ")).unwrap_or_default();
    format!("{image}{}", mismatch.message)
}

/// Returns text for people.
pub(super) fn text(verified: &[VerifiedSet]) -> Output {
    let mut lines = Vec::new();
    for one in verified {
        let (total, good) = (one.set.entries.len(), one.in_sync());
        let found = match one.set.stored {
            true => format!("{good} of {total} entries in sync with {}", registry::describe(&one.set.settings.layout)),
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
    Output::lines(lines)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SetResult<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    image_set: &'a str,
    operator_version: String,
    registry: String,
    entries: usize,
    in_sync: usize,
    mismatches: Vec<MismatchResult<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MismatchResult<'a> {
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    message: &'a str,
    next_step: &'static str,
    /// False where the lookup failed.
    known: bool,
}

/// Returns JSON for programs.
pub(super) fn json(verified: &[VerifiedSet]) -> Result<Output, Failure> {
    let sets: Vec<SetResult<'_>> = verified.iter().map(VerifiedSet::result).collect();
    serialized::json("the answer", &sets)
}

impl VerifiedSet {
    fn result(&self) -> SetResult<'_> {
        let file = self.set.file.as_ref();
        let mismatches = self.mismatches.iter().map(|mismatch| MismatchResult {
            reason: mismatch.reason,
            image: mismatch.image.as_deref(),
            line: file.map(|_| self.line(mismatch)),
            message: &mismatch.message,
            next_step: self.next_step(mismatch),
            known: mismatch.known,
        });
        SetResult {
            file: file.map(|file| file.name.as_str()),
            image_set: &self.set.name,
            operator_version: self.set.images.release().to_string(),
            registry: registry::describe(&self.set.settings.layout),
            entries: self.set.entries.len(),
            in_sync: self.in_sync(),
            mismatches: mismatches.collect(),
        }
    }
}

/// Returns workflow commands of GitHub Actions: an annotation on the line of each entry.
pub(super) fn github(verified: &[VerifiedSet]) -> Output {
    let mut lines = Vec::new();
    for one in verified {
        for mismatch in &one.mismatches {
            let level = if mismatch.known { "error" } else { "warning" };
            let place =
                one.set.file.as_ref().map(|file| format!("file={},line={},", property(&file.name), one.line(mismatch)));
            let message = format!("{}; {}", sentence(mismatch), one.next_step(mismatch));
            lines.push(format!(
                "::{level} {}title={}::{}",
                place.unwrap_or_default(),
                mismatch.reason,
                data(message.trim_end_matches("; "))
            ));
        }
    }
    Output::commands(lines)
}

/// Escapes the text after the colons of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes the value of a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
