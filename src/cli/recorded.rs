//! What was seen, as a file for a bug report: a snapshot in which no address holds a credential. Hosts, workloads, pods of the operator
//! and images keep their names, without which nobody could tell what was decided.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use serde_yaml_ng::Value;

use super::output::Failure;
use crate::model::snapshot::Snapshot;

/// Stands where something was taken out.
const REDACTED: &str = "redacted";
/// For whoever records, and nobody else.
const RIGHTS: u32 = 0o600;

/// A snapshot without credentials, and its text.
pub(super) fn redacted(snapshot: &Snapshot) -> Result<(Snapshot, String), Failure> {
    let mut value = serde_yaml_ng::to_value(snapshot).context("what was seen cannot be written down")?;
    redact(&mut value);
    let text = serde_yaml_ng::to_string(&value).context("what was seen cannot be written down")?;
    let snapshot = serde_yaml_ng::from_str(&text).context("what was written down cannot be read again")?;
    Ok((snapshot, text))
}

/// Writes a file that only its owner reads, also where it was there before.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(RIGHTS).open(path)?;
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(RIGHTS))?;
        }
        file.write_all(text.as_bytes())
    };
    Ok(written().with_context(|| format!("{} cannot be written", path.display()))?)
}

fn redact(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_credentials(text),
        Value::Sequence(values) => values.iter_mut().for_each(redact),
        Value::Mapping(mapping) => mapping.iter_mut().for_each(|(_, value)| redact(value)),
        Value::Tagged(tagged) => redact(&mut tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text whose addresses have lost user, password, query and fragment.
fn without_credentials(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((at, length)) = scheme_end(rest) {
        let (before, address) = rest.split_at(at + length);
        // Not at an apostrophe, a bracket or a backslash: a password may have one, and too much taken away does no harm.
        let end = address.find(|one: char| one.is_whitespace() || matches!(one, '"' | '<' | '>' | '`'));
        let (address, after) = address.split_at(end.unwrap_or(address.len()));
        kept.push_str(before);
        kept.push_str(&bare(address));
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Where an address begins: behind `://`, or behind what JSON makes of it.
fn scheme_end(text: &str) -> Option<(usize, usize)> {
    let found = ["://", ":\\/\\/"].into_iter().filter_map(|end| Some((text.find(end)?, end.len())));
    found.min()
}

/// What follows the scheme of one address.
fn bare(address: &str) -> String {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let (place, query) = address.split_at(end);
    // A digest behind a name is none.
    let user = place.match_indices('@').map(|(at, _)| at).rfind(|at| !place[*at + 1..].starts_with("sha256:"));
    let place = match user {
        Some(at) => format!("{REDACTED}@{}", &place[at + 1..]),
        None => place.to_owned(),
    };
    // A message that was cut short within a password, or a password that no address may have.
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

/// What may stand behind an address in a sentence.
const PUNCTUATION: &[char] = &[':', ',', '.', ';', ')', '\'', '\\'];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::model::lookups::Answer;
    use crate::model::registry_failure::{RegistryFailure, RegistryFailureKind};
    use crate::rules::decide::decide;

    #[test]
    fn what_a_registry_said_is_told_without_credentials_and_leads_to_the_same_plan() {
        let mut snapshot: Snapshot = serde_yaml_ng::from_str(
            "operator: !known {image: 'quay.io/tigera/operator:v1.40.15'}\ninstallation: !known {settings: {}}\n",
        )
        .unwrap();
        let said = "moved to https://robot:canary@a.example/v2/?sig=canary";
        for reference in decide(&snapshot, Catalogue::embedded()).questions.images {
            let kind = RegistryFailureKind::Unreachable;
            let failure = RegistryFailure::new(kind, Some(reference.clone()), "quay.io", said);
            snapshot.answers.images.insert(reference, Answer::Failed(failure));
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
    fn addresses_lose_what_may_be_a_credential_and_nothing_else() {
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
