//! Snapshots of a cluster as files, for bug reports. No URL in them has a credential. Hosts, workloads, pods of the operator and images
//! keep their names, without which nobody could follow the decision.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::inputs::files;
use crate::cli::output::Failure;
use crate::model::Snapshot;
use crate::yaml;

/// Stands in the place of what was removed.
const REDACTED: &str = "redacted";
/// Only the user who records may read the file.
const PERMISSIONS: u32 = 0o600;

/// Returns the snapshot without credentials, and its text.
pub(in crate::cli) fn redacted(snapshot: &Snapshot) -> Result<(Snapshot, String), Failure> {
    let mut value = serde_json::to_value(snapshot).context("what was seen cannot be written down")?;
    redact(&mut value);
    let text = yaml::to_string(&value).context("what was seen cannot be written down")?;
    let snapshot = yaml::from_str(&text).context("what was written down cannot be read again")?;
    Ok((snapshot, text))
}

/// Reads the snapshot of a file.
pub(in crate::cli) fn read(path: &Path) -> Result<Snapshot, Failure> {
    let text = files::read(&path.to_string_lossy())?;
    let snapshot = yaml::from_str(&text);
    Ok(snapshot.with_context(|| format!("{} is not a snapshot as --record writes it", path.display()))?)
}

/// Writes a file that only its owner can read, also where it existed before.
pub(in crate::cli) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(PERMISSIONS).open(path)?;
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(PERMISSIONS))?;
        }
        file.write_all(text.as_bytes())
    };
    Ok(written().with_context(|| format!("{} cannot be written", path.display()))?)
}

fn redact(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_credentials(text),
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Object(fields) => fields.values_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the text with user, password, query and fragment of all its URLs redacted.
fn without_credentials(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((at, length)) = scheme_end(rest) {
        let (before, address) = rest.split_at(at + length);
        // Not at an apostrophe, a bracket or a backslash: a password may have one, and redacting too much does no harm.
        let end = address.find(|one: char| one.is_whitespace() || matches!(one, '"' | '<' | '>' | '`'));
        let (address, after) = address.split_at(end.unwrap_or(address.len()));
        kept.push_str(before);
        kept.push_str(&redact_url(address));
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Returns where the first URL begins, behind `://` or its JSON form, and the length of that mark.
fn scheme_end(text: &str) -> Option<(usize, usize)> {
    let found = ["://", ":\\/\\/"].into_iter().filter_map(|end| Some((text.find(end)?, end.len())));
    found.min()
}

/// Redacts one URL, given without its scheme.
fn redact_url(address: &str) -> String {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let (place, query) = address.split_at(end);
    // An @ in front of a digest ends no user name.
    let user = place.match_indices('@').map(|(at, _)| at).rfind(|at| !place[*at + 1..].starts_with("sha256:"));
    let place = match user {
        Some(at) => format!("{REDACTED}@{}", &place[at + 1..]),
        None => place.to_owned(),
    };
    // A message that was cut within a password, or a password with characters that no URL may have.
    let authority = place.split('/').next().unwrap_or_default();
    let port = authority.rsplit_once(':').filter(|_| !authority.ends_with(']'));
    let place = match port {
        Some((host, port)) if !port.trim_end_matches(PUNCTUATION).bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{host}:{REDACTED}")
        }
        _ => place,
    };
    if query.len() > 1 { format!("{place}{}{REDACTED}", &query[..1]) } else { place + query }
}

/// Characters that may follow a URL in a sentence.
const PUNCTUATION: &[char] = &[':', ',', '.', ';', ')', '\'', '\\'];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::model::{LookupResult, RegistryFailure, RegistryFailureKind};
    use crate::rules::decide::decide;

    #[test]
    fn a_redacted_snapshot_leads_to_the_same_plan() {
        let mut snapshot: Snapshot = yaml::from_str(
            "operator: !known {image: 'quay.io/tigera/operator:v1.40.15'}\ninstallation: !known {settings: {}}\n",
        )
        .unwrap();
        let response = "moved to https://robot:canary@a.example/v2/?sig=canary";
        for reference in decide(&snapshot, Catalogue::embedded()).lookups.images {
            let kind = RegistryFailureKind::Unreachable;
            let failure = RegistryFailure::new(kind, Some(reference.clone()), "quay.io", response);
            snapshot.lookup_results.images.insert(reference, LookupResult::Failed(failure));
        }
        let (read, text) = redacted(&snapshot).unwrap();
        assert!(!text.contains("canary") && text.contains("https://redacted@a.example/v2/?redacted"), "{text}");
        let reasons = |snapshot: &Snapshot| {
            let findings = decide(snapshot, Catalogue::embedded()).findings;
            findings.into_iter().map(|finding| (finding.reason, finding.subject)).collect::<Vec<_>>()
        };
        assert!(!reasons(&snapshot).is_empty());
        assert_eq!(reasons(&snapshot), reasons(&read));
        assert_eq!(redacted(&read).unwrap().1, text);
    }

    #[test]
    fn urls_lose_credentials_and_nothing_else() {
        for (text, without) in [
            ("Get \"https://robot:canary@a.example/v2/\": EOF", "Get \"https://redacted@a.example/v2/\": EOF"),
            ("Get \"https://a.example/v2/?sig=canary\": EOF", "Get \"https://a.example/v2/?redacted\": EOF"),
            (r"https://a.example/b?c=d\u0026sig=canary end", "https://a.example/b?redacted end"),
            (r#"{"url":"https:\/\/robot:canary@a.example\/b"}"#, r#"{"url":"https:\/\/redacted@a.example\/b"}"#),
            ("http://canary@proxy:3128, https://a/#token=canary", "http://redacted@proxy:3128, https://a/#redacted"),
            ("parse \"https://robot:can/ary@a.example/\"", "parse \"https://redacted@a.example/\""),
            ("https://robot:can?ary@a.example/", "https://robot:redacted?redacted"),
            ("https://robot:it's(canary)@a.example/", "https://redacted@a.example/"),
            ("cut short: https://robot:can…", "cut short: https://robot:redacted"),
            ("https://proxy/https://robot:canary@a.example/", "https://redacted@a.example/"),
            ("docker://a.example:5000/b@sha256:ab, calico/node@sha256:ab", ""),
            ("at https://a.example:5000: refused; (https://[::1]:5000) https://[::1] https://a.example?", ""),
            ("no address: robot:b@c?d", ""),
        ] {
            let expected = if without.is_empty() { text } else { without };
            assert_eq!(without_credentials(text), expected);
            assert_eq!(without_credentials(expected), expected, "not twice");
        }
    }
}
