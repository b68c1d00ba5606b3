//! The data file of the catalogue. Each release is written as its differences from the previous release in version order, so
//! that a new release is a change of a few lines.
//!
//! ```text
//! v1.42.4: calico v3.32.1 quay.io, enterprise v3.23.1 quay.io
//!   - calico calico/old-image
//!   + calico calico/new-image
//! ```
//!
//! A line with a release gives the Calico and the Enterprise version that it deploys, and the registry (with path) of most
//! images of each. The lines below it remove entries from (`-`) or add entries to (`+`) one of its lists: `calico`,
//! `enterprise`, `common` (for both variants), `own` (the operator itself) and `rejected` (keys that its validator rejects).
//!
//! An image is written `[registry/]organisation/image[:tag]`. Without registry it is on that of its product. Without tag it has
//! the version of its product (`own`: of the operator), and `*` in a tag is that version (`:*-fips`). Empty lines and lines that
//! begin with `#` are comments.
//!
//! Each catalogue has one text: [`Catalogue::to_text`] of a parsed file returns the same file.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::catalogue::{Build, Catalogue, Part, Product, expand_entry};
use crate::model::{ImageName, ProductVersion, Reference, Release, foreign_text::cut};

/// The beginning of every data file.
const HEADER: &str = "\
# The images of every tigera-operator release that knows ImageSets, each as what differs from the release above it.
# Written by `imageset-controller catalogue add` from the operator's own printed output; the format is in README.md.
";

type Lists<'text> = [Arc<BTreeSet<Cow<'text, str>>>; Part::ALL.len()];

/// An error in the data file, at one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct CatalogueError {
    /// Line number, starting at 1.
    pub line: usize,
    /// What is wrong with the line.
    pub cause: LineError,
}

/// What is wrong with a line of the data file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is neither a release nor a change.
    #[error("neither `vX.Y.Z: calico VERSION REGISTRY, enterprise VERSION REGISTRY` nor `  + LIST ENTRY`")]
    Form,
    /// The release is not newer than the one before it.
    #[error("{0} is not newer than the release above it")]
    Order(Release),
    /// The line begins neither a range of releases nor a change.
    #[error("neither `vX.Y.Z to vX.Y.Z`, of one minor series, nor a change")]
    RangeForm,
    /// The change is not a rule.
    #[error("not `  + VARIANT CONDITION IMAGE` with no-set or an image")]
    RuleForm,
    /// The condition does not exist.
    #[error("{0:?} is not a condition of required images")]
    UnknownCondition(String),
    /// A change precedes the first release.
    #[error("a change without a release above it")]
    NoRelease,
    /// The list does not exist.
    #[error("{0:?} is not a list: calico, enterprise, common, own or rejected")]
    UnknownList(String),
    /// `+` of an existing entry, or `-` of a missing one.
    #[error("{0} is already so in the release above")]
    NoChange(String),
    /// The entry is neither an image nor a key.
    #[error("{0}")]
    Entry(String),
    /// The lists of a release (this line is its first) are invalid together.
    #[error("{0}")]
    Release(String),
}

impl<'text> Catalogue<'text> {
    /// Parses a data file.
    ///
    /// # Errors
    /// The first line that does not follow the format, or the first line of a release whose lists are invalid together.
    pub fn parse(text: &'text str) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        let mut current: Option<(usize, Release, Build<'text>)> = None;
        for (index, content) in text.lines().enumerate() {
            let at = |cause| CatalogueError { line: index + 1, cause };
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if let Some(change) = content.strip_prefix("  ") {
                let (_, _, build) = current.as_mut().ok_or_else(|| at(LineError::NoRelease))?;
                apply(&mut build.lists, change).map_err(at)?;
                continue;
            }
            let (release, calico, enterprise) = parse_release(content).ok_or_else(|| at(LineError::Form))?;
            let lists = match current.take() {
                Some((_, previous, _)) if previous >= release => return Err(at(LineError::Order(release))),
                Some((line, previous, build)) => {
                    let lists = build.lists.clone();
                    catalogue.finish(line, previous, build)?;
                    lists
                }
                None => Lists::default(),
            };
            current = Some((index + 1, release, Build { calico, enterprise, lists }));
        }
        if let Some((line, release, build)) = current {
            catalogue.finish(line, release, build)?;
        }
        Ok(catalogue)
    }

    /// Adds a release whose lines have all been read. Only what holds for any list is checked here: expanding 20,000 references
    /// at every start would cost more than the rest of the start.
    fn finish(&mut self, line: usize, release: Release, build: Build<'text>) -> Result<(), CatalogueError> {
        if build.list(Part::Own).len() != 1 {
            let cause = LineError::Release(format!("{release} has not exactly one image of its own"));
            return Err(CatalogueError { line, cause });
        }
        self.releases.insert(release, build);
        Ok(())
    }

    /// Expands and checks every release, which [`Self::parse`] leaves to [`Self::get`].
    ///
    /// # Errors
    /// The first release whose lists are invalid together, or are not written as [`Self::to_text`] writes them.
    pub fn check(&self) -> Result<(), LineError> {
        self.releases.iter().try_for_each(|(release, build)| match build.expand(*release) {
            Ok(images) if Build::of(&images) == *build => Ok(()),
            Ok(_) => Err(LineError::Release(format!("{release} is not written the one way: a default is spelled out"))),
            Err(unusable) => Err(LineError::Release(format!("{release}: {unusable}"))),
        })
    }

    /// Returns the data file of this catalogue.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        let mut above: Option<&Build<'_>> = None;
        for (release, build) in &self.releases {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{release}: {}", products(&build.calico, &build.enterprise));
            for change in changes(above.map(|build| &build.lists), &build.lists) {
                let _ = writeln!(text, "  {change}");
            }
            above = Some(build);
        }
        text
    }
}

/// Returns the part of a release's line after the release.
pub(super) fn products(calico: &Product<'_>, enterprise: &Product<'_>) -> String {
    format!("calico {} {}, enterprise {} {}", calico.version, calico.registry, enterprise.version, enterprise.registry)
}

/// Returns the lines that lead from one release's lists to another's.
pub(super) fn changes(from: Option<&Lists<'_>>, to: &Lists<'_>) -> Vec<String> {
    let nothing = Lists::default();
    let from = from.unwrap_or(&nothing);
    let mut lines = Vec::new();
    for ((part, from), to) in Part::ALL.iter().zip(from).zip(to) {
        lines.extend(from.difference(to).map(|entry| format!("- {} {entry}", part.word())));
        lines.extend(to.difference(from).map(|entry| format!("+ {} {entry}", part.word())));
    }
    lines
}

fn parse_release(line: &str) -> Option<(Release, Product<'_>, Product<'_>)> {
    let (release, products) = line.split_once(": ")?;
    let (calico, enterprise) = products.split_once(", ")?;
    let calico = parse_product(calico.strip_prefix("calico ")?)?;
    let enterprise = parse_product(enterprise.strip_prefix("enterprise ")?)?;
    Some((release.parse().ok()?, calico, enterprise))
}

fn parse_product(text: &str) -> Option<Product<'_>> {
    let (version, registry) = text.split_once(' ')?;
    let usable = ProductVersion::is_printable(version) && format!("{registry}/a/b:c").parse::<Reference>().is_ok();
    usable.then(|| Product { version: version.to_owned().into(), registry: Cow::Borrowed(registry) })
}

/// Applies one line such as `+ calico calico/node`.
fn apply<'text>(lists: &mut Lists<'text>, change: &'text str) -> Result<(), LineError> {
    let mut words = change.splitn(3, ' ');
    let (Some(sign @ ("+" | "-")), Some(word), Some(entry)) = (words.next(), words.next(), words.next()) else {
        return Err(LineError::Form);
    };
    let part = Part::ALL.into_iter().find(|part| part.word() == word);
    let part = part.ok_or_else(|| LineError::UnknownList(cut(word, 50)))?;
    let list = Arc::make_mut(&mut lists[part as usize]);
    let changed = if sign == "+" {
        check_entry(part, entry)?;
        list.insert(Cow::Borrowed(entry))
    } else {
        list.remove(entry)
    };
    if changed { Ok(()) } else { Err(LineError::NoChange(change.to_owned())) }
}

/// Checks that the entry makes an image, whatever the version.
fn check_entry(part: Part, entry: &str) -> Result<(), LineError> {
    let wrong = |error: &dyn std::fmt::Display| LineError::Entry(error.to_string());
    if part == Part::Rejected {
        return entry.parse::<ImageName>().map(|_| ()).map_err(|error| wrong(&error));
    }
    let version = if part == Part::Common { "" } else { "v1.2.3" };
    let reference: Reference =
        expand_entry(entry, "registry.example", version).parse().map_err(|error| wrong(&error))?;
    reference.image_name().map(|_| ()).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
v1.41.0: calico master quay.io, enterprise v3.23.0-1.0 gcr.io/some/path
  + calico calico/node
  + calico calico/node:*-fips
  + calico calico/typha
  + calico docker.io/calico/csi:v3
  + enterprise tigera/cnx-node
  + common quay.io/tigera/key-cert-provisioner:v1.1.7
  + own quay.io/tigera/operator
v1.41.1: calico v3.31.3 quay.io, enterprise v3.23.0-1.0 quay.io
  - calico calico/node:*-fips
  + rejected tigera/operator
";

    #[test]
    fn a_release_is_written_as_its_differences_from_the_previous_one() {
        let catalogue = Catalogue::parse(TWO).unwrap();
        catalogue.check().unwrap();
        let printed = |text: &str| catalogue.get(&text.parse().unwrap()).unwrap().as_printed().clone();
        let texts = |references: &BTreeSet<Reference>| references.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(&printed("v1.41.0").calico_images),
            [
                "docker.io/calico/csi:v3",
                "quay.io/calico/node:master",
                "quay.io/calico/node:master-fips",
                "quay.io/calico/typha:master"
            ]
        );
        assert_eq!(texts(&printed("v1.41.0").enterprise_images), ["gcr.io/some/path/tigera/cnx-node:v3.23.0-1.0"]);
        assert_eq!(
            texts(&printed("v1.41.1").calico_images),
            ["docker.io/calico/csi:v3", "quay.io/calico/node:v3.31.3", "quay.io/calico/typha:v3.31.3"]
        );
        assert_eq!(printed("v1.41.1").own_image.to_string(), "quay.io/tigera/operator:v1.41.1");
        assert_eq!(catalogue.to_text(), format!("{HEADER}{TWO}"));
        assert_eq!(catalogue.get(&"v1.41.1-1".parse().unwrap()), None, "a rebuild is another build");
    }

    #[test]
    fn errors_name_the_line() {
        let line = |text: &str| Catalogue::parse(text).map_err(|error| error.line).unwrap_err();
        assert_eq!(line("  + calico calico/node\n"), 1);
        assert_eq!(line(&TWO.replace("v1.41.1:", "v1.40.1:")), 9);
        assert_eq!(line(&TWO.replace("+ rejected", "+ refused")), 11);
        assert_eq!(line(&TWO.replace("calico/csi:v3", "calico/CSI")), 5);
        assert_eq!(line(&TWO.replace("- calico calico/node:*-fips", "- calico calico/apiserver")), 10);
        assert_eq!(line(&TWO.replace("  + own quay.io/tigera/operator\n", "")), 1, "the release as a whole");
        assert_eq!(line(&TWO.replace(" gcr.io/some/path", "")), 1);
        assert_eq!(line(&TWO.replace(", enterprise v3.23.0-1.0 quay.io", "")), 9);
    }

    #[test]
    fn the_embedded_file_is_complete_and_canonical() {
        let text = crate::catalogue::EMBEDDED;
        let catalogue = Catalogue::parse(text).unwrap();
        catalogue.check().unwrap();
        assert_eq!(catalogue.to_text(), text);
        assert_eq!(catalogue.releases().len(), Catalogue::embedded().releases().len());
        assert!(text.len() < 150_000, "{}", text.len());
    }
}
