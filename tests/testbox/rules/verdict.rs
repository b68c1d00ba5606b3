//! What an operator makes of the ImageSets it finds, and the stricter reading that the invariants need.

use std::collections::BTreeSet;

use super::eras::Era;
use super::requirements::{Component, Features};
use super::{Entry, OperatorRules, Variant};

/// Why an operator is Degraded, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The name of the TigeraStatus: `calico`, `apiserver`, …
    pub component: String,
    /// The condition's reason.
    pub reason: String,
    /// The condition's message.
    pub message: String,
}

impl Rejection {
    pub(super) fn new(component: Component, reason: &str, message: &str) -> Self {
        Self { component: component.tigera_status().to_owned(), reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// An ImageSet as the operator lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSet {
    /// `metadata.name`.
    pub name: String,
    /// `spec.images`, in order.
    pub entries: Vec<Entry>,
}

impl NamedSet {
    /// The digest of a name: of duplicates the first entry wins.
    pub fn digest(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(entry, _)| entry == name).map(|(_, digest)| digest.as_str())
    }
}

/// Which ImageSet an operator takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// None counts: images by tag.
    Tags,
    /// The one of the exact name.
    Set(&'a NamedSet),
    /// Others exist, the exact one does not: everything stops.
    Blocked,
}

impl OperatorRules {
    /// Selects among all ImageSets of the cluster.
    pub fn select<'a>(&self, variant: Variant, sets: &'a [NamedSet]) -> Selection<'a> {
        let expected = self.expected_set_name(variant);
        if let Some(set) = sets.iter().find(|set| set.name == expected) {
            return Selection::Set(set);
        }
        let any_blocks = Era::of(self.version).any_set_blocks();
        match sets.iter().any(|set| any_blocks || set.name.starts_with(variant.prefix())) {
            true => Selection::Blocked,
            false => Selection::Tags,
        }
    }

    /// What one controller says: the set it uses (`None`: tags), or why it is Degraded.
    ///
    /// # Errors
    /// The refusal that its TigeraStatus shows.
    pub fn judge<'a>(
        &self,
        component: Component,
        variant: Variant,
        features: Features,
        sets: &'a [NamedSet],
    ) -> Result<Option<&'a NamedSet>, Rejection> {
        let era = Era::of(self.version);
        if component == Component::Calico && features.fips && self.refuses_fips(variant) {
            return Err(Era::refused_fips(variant, self.version));
        }
        let set = match self.select(variant, sets) {
            Selection::Tags => return Ok(None),
            Selection::Blocked => return Err(era.blocked(component, &self.expected_set_name(variant))),
            Selection::Set(set) => set,
        };
        if component.makes_authority()
            && let Some(image) = self.authority_image(variant)
            && set.digest(&image).is_none()
        {
            return Err(era.authority(component, &not_contained(&image)));
        }
        if let Some(cause) = self.validation_error(set) {
            return Err(era.invalid(component, &cause));
        }
        let causes: Vec<String> = self
            .rendered(component, variant, features)
            .into_iter()
            .map(|part| {
                let missing = part.iter().filter(|name| set.digest(name).is_none());
                missing.map(|name| not_contained(name)).collect::<Vec<_>>().join(",")
            })
            .filter(|cause| !cause.is_empty())
            .collect();
        if causes.is_empty() { Ok(Some(set)) } else { Err(era.incomplete(component, &causes)) }
    }

    /// The validator's text, the same in all eras: unknown names, then digests that don't begin with `sha256:`.
    pub fn validation_error(&self, set: &NamedSet) -> Option<String> {
        let known = self.known_names();
        let unexpected: Vec<&str> =
            set.entries.iter().map(|(name, _)| name.as_str()).filter(|name| !known.contains(*name)).collect();
        let bad: Vec<String> = set
            .entries
            .iter()
            .filter(|(_, digest)| !digest.starts_with("sha256:"))
            .map(|(name, digest)| format!("{name}@{digest}"))
            .collect();
        let mut causes = Vec::new();
        if !unexpected.is_empty() {
            causes.push(format!("unexpected images: {}", unexpected.join(", ")));
        }
        if !bad.is_empty() {
            causes.push(format!("bad digest images: {}", bad.join(", ")));
        }
        (!causes.is_empty()).then(|| format!("ImageSet {}: {}", set.name, causes.join("; ")))
    }

    /// Everything in a set that invariant S2 forbids; empty means a set that is safe for this release. Stricter than the
    /// operator, which lets duplicates and garbage behind `sha256:` pass.
    pub fn strict_problems(&self, variant: Variant, entries: &[Entry], features: Features) -> Vec<String> {
        let release = self.version;
        let known = self.known_names();
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, digest) in entries {
            if !known.contains(name) {
                problems.push(format!("operator {release} does not accept the name {name}"));
            }
            if !seen.insert(name) {
                problems.push(format!("{name} is listed twice"));
            }
            if !is_digest(digest) {
                problems.push(format!("the digest of {name} is not sha256 and 64 hexadecimal digits: {digest}"));
            }
        }
        for name in self.required_names(variant, features) {
            if !seen.contains(&name) {
                problems.push(format!("operator {release} insists on {name}"));
            }
        }
        problems
    }
}

/// The verdict of a release on one generated set, without a cluster: the set is taken to have the right name.
///
/// # Errors
/// The first refusal, of the controllers that these features make active. Duplicates are not refused: the first entry wins.
///
/// # Panics
/// The facts don't know the version.
pub fn accepts(version: &str, variant: Variant, entries: &[Entry], features: Features) -> Result<(), Rejection> {
    let rules = OperatorRules::for_version(version).expect("the facts know this version");
    let set = NamedSet { name: rules.expected_set_name(variant), entries: entries.to_vec() };
    for component in rules.active_components(variant, features) {
        rules.judge(component, variant, features, std::slice::from_ref(&set))?;
    }
    Ok(())
}

/// As [`OperatorRules::strict_problems`], by version text.
///
/// # Panics
/// The facts don't know the version.
pub fn strict_problems(version: &str, variant: Variant, entries: &[Entry], features: Features) -> Vec<String> {
    OperatorRules::for_version(version)
        .expect("the facts know this version")
        .strict_problems(variant, entries, features)
}

/// `^sha256:[a-f0-9]{64}$`
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

fn not_contained(name: &str) -> String {
    format!("ImageSet did not contain image {name}")
}
