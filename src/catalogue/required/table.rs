//! The data file of required images (`data/required-images.txt`). Each range of releases is written as its differences from the
//! range above it, so that a new release is a change of a few lines.
//!
//! ```text
//! v1.42.0 to v1.42.4
//!   + calico apiserver-aggregated calico/apiserver
//!   - calico openshift-aws tigera/operator
//!   + calico openshift-aws no-set
//! ```
//!
//! A line with two releases begins a range of one minor series. The lines below it remove (`-`) or add (`+`) rules of a variant:
//! a condition ([`RuleCondition`]) and the image that it makes the operator require, or `no-set` if no ImageSet is possible while
//! it holds. Empty lines and lines that begin with `#` are comments.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::condition::RuleCondition;
use super::source::SourceRules;
use crate::catalogue::text::{CatalogueError, LineError};
use crate::model::{ImageName, Release, Variant, foreign_text::cut};

/// The beginning of every data file.
const HEADER: &str = "\
# The images that each tigera-operator release requires in an ImageSet, each range as what differs from the range above it.
# Written by `imageset-controller catalogue add --required-file` from the operator's own source; the format is in README.md.
";

/// In place of an image: no ImageSet is possible while the condition holds.
const NO_SET: &str = "no-set";

/// The variants, in the order of the data file.
const VARIANTS: [(Variant, &str); 2] = [(Variant::Calico, "calico"), (Variant::Enterprise, "enterprise")];

/// One rule: a condition with the image that it makes the operator require, or [`NO_SET`].
type Rule<'text> = (RuleCondition, Cow<'text, str>);
/// The rules of one variant. Ranges with the same rules share them.
type Rules<'text> = Arc<BTreeSet<Rule<'text>>>;

/// The rules of all ranges, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequiredTable<'text> {
    ranges: Vec<Range<'text>>,
}

/// Releases of one minor series that have the same rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range<'text> {
    /// The first of them.
    pub from: Release,
    /// The last of them.
    pub to: Release,
    rules: [Rules<'text>; VARIANTS.len()],
}

impl Range<'_> {
    /// Returns the conditions of a variant, each with an image that it makes the operator require.
    pub fn images(&self, variant: Variant) -> impl Iterator<Item = (RuleCondition, ImageName)> {
        let images = self.rules(variant).iter().filter(|(_, image)| image != NO_SET);
        // Parsing has checked each name.
        images.filter_map(|(condition, image)| Some((*condition, image.parse().ok()?)))
    }

    /// Returns the conditions under which a variant can have no ImageSet.
    pub fn without_set(&self, variant: Variant) -> impl Iterator<Item = RuleCondition> {
        self.rules(variant).iter().filter(|(_, image)| image == NO_SET).map(|(condition, _)| *condition)
    }

    fn rules(&self, variant: Variant) -> &BTreeSet<Rule<'_>> {
        &self.rules[position(variant)]
    }
}

const fn position(variant: Variant) -> usize {
    match variant {
        Variant::Calico => 0,
        Variant::Enterprise => 1,
    }
}

impl<'text> RequiredTable<'text> {
    /// Parses a data file.
    ///
    /// # Errors
    /// The first line that does not follow the format.
    pub fn parse(text: &'text str) -> Result<Self, CatalogueError> {
        let mut ranges: Vec<Range<'text>> = Vec::new();
        for (index, content) in text.lines().enumerate() {
            let at = |cause| CatalogueError { line: index + 1, cause };
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if let Some(change) = content.strip_prefix("  ") {
                let range = ranges.last_mut().ok_or_else(|| at(LineError::NoRelease))?;
                apply(&mut range.rules, change).map_err(at)?;
                continue;
            }
            let (from, to) = parse_range(content).ok_or_else(|| at(LineError::RangeForm))?;
            let above = ranges.last();
            if above.is_some_and(|above| above.to >= from) {
                return Err(at(LineError::Order(from)));
            }
            let rules = above.map(|above| above.rules.clone()).unwrap_or_default();
            ranges.push(Range { from, to, rules });
        }
        Ok(Self { ranges })
    }

    /// Returns the range that has this release.
    #[must_use]
    pub fn range_of(&self, release: Release) -> Option<&Range<'text>> {
        self.ranges.iter().find(|range| (range.from..=range.to).contains(&release))
    }

    /// Returns the last range that begins before this release.
    #[must_use]
    pub fn range_before(&self, release: Release) -> Option<&Range<'text>> {
        self.ranges.iter().rev().find(|range| range.from < release)
    }

    /// Returns the data file of this table.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        let mut above: Option<&Range<'_>> = None;
        for range in &self.ranges {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} to {}", range.from, range.to);
            for (variant, word) in VARIANTS {
                let nothing = BTreeSet::new();
                let (old, new) = (above.map_or(&nothing, |above| above.rules(variant)), range.rules(variant));
                for (sign, rules) in [("-", old.difference(new)), ("+", new.difference(old))] {
                    for (condition, image) in rules {
                        let _ = writeln!(text, "  {sign} {word} {} {image}", condition.id());
                    }
                }
            }
            above = Some(range);
        }
        text
    }
}

impl RequiredTable<'_> {
    /// Adds the rules of a release: required images and impossible sets of both variants. Whether FIPS mode is possible is not
    /// part of them; it stays as in the release before.
    pub fn add(&mut self, release: Release, rules: [SourceRules; VARIANTS.len()]) {
        let position = self.ranges.iter().take_while(|range| range.from < release).count();
        let above = position.checked_sub(1).map(|above| &self.ranges[above]);
        let fips = |variant: usize| {
            let of_above = above.into_iter().flat_map(move |above| above.rules[variant].iter());
            let rules = of_above.filter(|(condition, _)| *condition == RuleCondition::Fips);
            rules.map(|(condition, image)| (*condition, Cow::Owned(image.to_string()))).collect::<Vec<Rule<'static>>>()
        };
        let mut own = rules.map(|rules| {
            let text = |image: Option<ImageName>| Cow::Owned(image.map_or_else(|| NO_SET.to_owned(), String::from));
            rules.into_iter().map(|(condition, image)| (condition, text(image))).collect::<BTreeSet<_>>()
        });
        for (variant, rules) in own.iter_mut().enumerate() {
            rules.extend(fips(variant));
        }
        let rules = own.map(Arc::new);
        let same_series = |range: &Range<'_>| range.from.series() == release.series();
        match position.checked_sub(1).map(|above| &mut self.ranges[above]) {
            Some(above) if above.rules == rules && same_series(above) => above.to = above.to.max(release),
            _ => self.ranges.insert(position, Range { from: release, to: release, rules }),
        }
    }
}

fn parse_range(line: &str) -> Option<(Release, Release)> {
    let (from, to) = line.split_once(" to ")?;
    let (from, to): (Release, Release) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && from.series() == to.series()).then_some((from, to))
}

/// Applies one line such as `+ calico apiserver calico/apiserver`.
fn apply<'text>(rules: &mut [Rules<'text>; VARIANTS.len()], change: &'text str) -> Result<(), LineError> {
    let words: Vec<&str> = change.split(' ').collect();
    let [sign @ ("+" | "-"), variant, condition, image] = words.as_slice() else { return Err(LineError::RuleForm) };
    let at = VARIANTS.iter().position(|(_, word)| word == variant);
    let at = at.ok_or_else(|| LineError::UnknownList(cut(variant, 50)))?;
    let condition = RuleCondition::of_id(condition).ok_or_else(|| LineError::UnknownCondition(cut(condition, 50)))?;
    if *image != NO_SET {
        image.parse::<ImageName>().map_err(|error| LineError::Entry(error.to_string()))?;
    }
    let rules = Arc::make_mut(&mut rules[at]);
    let rule = (condition, Cow::Borrowed(*image));
    let changed = if *sign == "+" { rules.insert(rule) } else { rules.remove(&rule) };
    if changed { Ok(()) } else { Err(LineError::NoChange(change.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
v1.35.0 to v1.35.3
  + calico always calico/node
  + calico openshift-aws tigera/operator
  + enterprise fips no-set
v1.36.0 to v1.36.16
  - calico openshift-aws tigera/operator
  + calico openshift-aws no-set
";

    #[test]
    fn a_range_is_written_as_its_differences_from_the_range_above() {
        let table = RequiredTable::parse(TWO).unwrap();
        assert_eq!(table.to_text(), format!("{HEADER}{TWO}"));
        let range = |release: &str| table.range_of(release.parse().unwrap());
        assert_eq!(range("v1.35.3").unwrap().images(Variant::Calico).count(), 2);
        assert_eq!(range("v1.36.16").unwrap().images(Variant::Calico).count(), 1);
        assert_eq!(range("v1.36.0").unwrap().without_set(Variant::Calico).next(), Some(RuleCondition::OpenShiftOnAws));
        assert_eq!(range("v1.36.0").unwrap().without_set(Variant::Enterprise).next(), Some(RuleCondition::Fips));
        assert_eq!((range("v1.35.4"), range("v1.36.17")), (None, None));
    }

    #[test]
    fn errors_name_the_line() {
        let line = |text: &str| RequiredTable::parse(text).map_err(|error| error.line).unwrap_err();
        assert_eq!(line("  + calico always calico/node\n"), 1);
        assert_eq!(line(&TWO.replace("v1.36.0 to", "v1.35.3 to")), 1 + 4);
        assert_eq!(line(&TWO.replace("v1.35.0 to v1.35.3", "v1.34.0 to v1.35.3")), 1);
        assert_eq!(line(&TWO.replace("always", "sometimes")), 2);
        assert_eq!(line(&TWO.replace("enterprise fips", "oss fips")), 4);
        assert_eq!(line(&TWO.replace("calico/node", "calico/NODE")), 2);
        assert_eq!(line(&TWO.replace("- calico openshift-aws tigera/operator", "- calico windows no-set")), 6);
        assert_eq!(line(&TWO.replace("fips no-set", "fips")), 4);
    }

    #[test]
    fn the_embedded_file_is_canonical() {
        let text = super::super::EMBEDDED;
        assert_eq!(RequiredTable::parse(text).unwrap().to_text(), text);
    }
}
