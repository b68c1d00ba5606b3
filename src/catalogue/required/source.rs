//! What a maintainer reads from the operator's source: a JSON list of ranges of releases with the images that they require, one range
//! per variant. It is how the rules of a new release get into the data file.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::condition::RuleCondition;
use crate::model::{ImageName, Release, Variant};

/// The rules of one variant: conditions with the image that each makes the operator require; `None` if no ImageSet is possible.
pub type SourceRules = BTreeSet<(RuleCondition, Option<ImageName>)>;

/// Why the file has no usable rules for a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// The file is not the JSON list.
    #[error("it is not a list of ranges: {0}")]
    Json(String),
    /// No range of the variant has the release.
    #[error("it has no rules of {1} for operator {0}")]
    NoRelease(Release, Variant),
    /// The condition is new: the product cannot observe it.
    #[error("the condition {0:?} is not known: add it to src/catalogue/required/condition.rs first")]
    UnknownCondition(String),
    /// A name is not one of an ImageSet.
    #[error(transparent)]
    Name(#[from] crate::model::InvalidImageName),
}

/// A range of releases with the same rules.
#[derive(Deserialize)]
struct SourceRange {
    releases: Vec<String>,
    variant: String,
    always: Vec<String>,
    when: Vec<SourceRule>,
    unsatisfiable: Vec<SourceRule>,
}

/// Images that are required while a condition holds.
#[derive(Deserialize)]
struct SourceRule {
    id: String,
    images: Vec<String>,
    #[serde(default)]
    fields: Vec<String>,
}

impl SourceRule {
    /// Returns the condition. Two identifiers stand for two conditions each, which differ in their fields.
    fn condition(&self) -> Result<RuleCondition, InvalidSource> {
        let says = |field: &str| self.fields.iter().any(|one| one == field);
        match self.id.as_str() {
            "apiserver" if says("native-v3-crds = false") => Ok(RuleCondition::ApiServerAggregated),
            "istio" if says("Enterprise CRDs installed") => Ok(RuleCondition::IstioEnterprise),
            id => RuleCondition::of_id(id).ok_or_else(|| InvalidSource::UnknownCondition(id.to_owned())),
        }
    }
}

/// Returns the rules of one release, of Calico and of Enterprise.
///
/// # Errors
/// See [`InvalidSource`].
pub fn rules_of(text: &str, release: Release) -> Result<[SourceRules; 2], InvalidSource> {
    let ranges: Vec<SourceRange> =
        serde_json::from_str(text).map_err(|error| InvalidSource::Json(error.to_string()))?;
    let rules = |variant: Variant| -> Result<SourceRules, InvalidSource> {
        let name = release.to_string();
        let has = |range: &&SourceRange| range.variant == variant.to_string() && range.releases.contains(&name);
        let range = ranges.iter().find(has).ok_or(InvalidSource::NoRelease(release, variant))?;
        let mut rules = SourceRules::new();
        for image in &range.always {
            rules.insert((RuleCondition::Always, Some(image.parse()?)));
        }
        for rule in &range.when {
            for image in &rule.images {
                rules.insert((rule.condition()?, Some(image.parse()?)));
            }
        }
        for rule in &range.unsatisfiable {
            rules.insert((rule.condition()?, None));
        }
        Ok(rules)
    };
    Ok([rules(Variant::Calico)?, rules(Variant::Enterprise)?])
}
