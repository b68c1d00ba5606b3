//! The image lists of one operator build: the images that it prints, the entries of its ImageSet, and the names that it rejects
//! there. The lists come from the catalogue or from an inspection; the values are the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::image_name::{ImageName, InvalidImageName};
use crate::model::reference::Reference;
use crate::model::release::{ImageSetName, ProductVersion, Release, Variant};

/// Suffix of the tag of an image for FIPS mode; without it, the tag is that of the normal image (operator v1.28 to v1.42).
const FIPS_SUFFIX: &str = "-fips";

/// Maximum number of images of one operator build. The longest known list has 85, and each image is looked up.
pub const MOST_IMAGES: usize = 256;

/// Maximum number of registries of one operator build. Known lists have up to three; each takes connections and buffers of its
/// own while it is queried.
pub const MOST_REGISTRIES: usize = 8;

/// The parsed output of one operator build: `--version` and `--print-images=list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrintedImages {
    /// Version after `Operator:`.
    pub release: Release,
    /// Version after `Calico:`.
    pub calico: ProductVersion,
    /// Version after `Enterprise:`.
    pub enterprise: ProductVersion,
    /// Calico component list without the operator's own image, FIPS images included.
    pub calico_images: BTreeSet<Reference>,
    /// Enterprise component list. Up to v1.27.17 some names have two tags.
    pub enterprise_images: BTreeSet<Reference>,
    /// Images of both variants (`tigera/key-cert-provisioner`, v1.15 to v1.33).
    pub common_images: BTreeSet<Reference>,
    /// The operator's own image. Up to v1.35 the operator lists it as a Calico image and accepts it in an ImageSet.
    pub own_image: Reference,
    /// Printed names that this build's validator rejects in an ImageSet (`tigera/operator` from v1.36 on).
    pub rejected: BTreeSet<ImageName>,
}

/// The checked image lists of one operator build: every reference has a tag and a key, and of several tags for one key exactly
/// one is that of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PrintedImages", into = "PrintedImages")]
pub struct OperatorImages(PrintedImages);

impl TryFrom<PrintedImages> for OperatorImages {
    type Error = InvalidOperatorImages;

    fn try_from(printed: PrintedImages) -> Result<Self, Self::Error> {
        Self::new(printed)
    }
}

impl From<OperatorImages> for PrintedImages {
    fn from(images: OperatorImages) -> Self {
        images.0
    }
}

/// Why no ImageSet can be made from the lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOperatorImages {
    /// A reference has no tag, or also a digest. The lists of an operator are by tag.
    #[error("{0} is not a reference by tag alone")]
    NotByTag(Reference),
    /// The lists name more than [`MOST_IMAGES`] images.
    #[error("it names {0} images; no operator needs more than {MOST_IMAGES}")]
    TooManyImages(usize),
    /// The lists name images of more than [`MOST_REGISTRIES`] registries.
    #[error("it names images of {0} registries; no operator needs more than {MOST_REGISTRIES}")]
    TooManyRegistries(usize),
    /// A reference does not have the two path segments of a key.
    #[error(transparent)]
    NoKey(#[from] InvalidImageName),
    /// Several references have the same key, and not exactly one of them has the tag of the release.
    #[error("{variant} {version} has several images for {name}, and no rule says which one is pulled")]
    Ambiguous {
        /// Key with several references.
        name: ImageName,
        /// Variant whose list it is.
        variant: Variant,
        /// Release of that variant.
        version: ProductVersion,
    },
}

/// The error for a build that was cut before the product release that it deploys, so that no set exists for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "operator {release} carries the pre-release marker {marker} instead of a {variant} version, so there is no \
     ImageSet for it"
)]
pub struct PreReleaseMarker {
    /// Version of the operator.
    pub release: Release,
    /// Variant whose version is a marker.
    pub variant: Variant,
    /// Marker, such as `master` or `release-calient-v3.20`.
    pub marker: ProductVersion,
}

impl OperatorImages {
    /// Checks the lists of one operator build.
    ///
    /// # Errors
    /// See [`InvalidOperatorImages`].
    pub fn new(printed: PrintedImages) -> Result<Self, InvalidOperatorImages> {
        let images = Self(printed);
        let PrintedImages { calico_images, enterprise_images, common_images, own_image, .. } = &images.0;
        let all = || calico_images.iter().chain(enterprise_images).chain(common_images).chain([own_image]);
        let registries: BTreeSet<&str> = all().map(Reference::registry).collect();
        if all().count() > MOST_IMAGES {
            return Err(InvalidOperatorImages::TooManyImages(all().count()));
        }
        if registries.len() > MOST_REGISTRIES {
            return Err(InvalidOperatorImages::TooManyRegistries(registries.len()));
        }
        for variant in [Variant::Calico, Variant::Enterprise] {
            let version = images.product_version(variant);
            let mut tags: BTreeMap<ImageName, Vec<&str>> = BTreeMap::new();
            for reference in images.list(variant) {
                let (Some(tag), None) = (reference.tag(), reference.digest()) else {
                    return Err(InvalidOperatorImages::NotByTag(reference.clone()));
                };
                tags.entry(reference.image_name()?).or_default().push(tag);
            }
            for (name, tags) in tags {
                let ambiguous = |fips: bool| {
                    let release = if fips { format!("{version}{FIPS_SUFFIX}") } else { version.to_string() };
                    let mut tags = tags.iter().filter(|tag| tag.ends_with(FIPS_SUFFIX) == fips).peekable();
                    let first = tags.next();
                    tags.peek().is_some() && first.into_iter().chain(tags).filter(|tag| **tag == release).count() != 1
                };
                if ambiguous(false) || ambiguous(true) {
                    return Err(InvalidOperatorImages::Ambiguous { name, variant, version: version.clone() });
                }
            }
        }
        Ok(images)
    }

    /// Returns the version of the operator.
    #[must_use]
    pub const fn release(&self) -> Release {
        self.0.release
    }

    /// Returns the same lists under another version of the operator, for a rebuild that prints the version of its base.
    #[must_use]
    pub fn of_release(self, release: Release) -> Self {
        Self(PrintedImages { release, ..self.0 })
    }

    /// Returns the same lists with further names that this build rejects in an ImageSet.
    #[must_use]
    pub fn rejecting(mut self, names: &BTreeSet<ImageName>) -> Self {
        self.0.rejected.extend(names.iter().cloned());
        self
    }

    /// Returns the Calico or Enterprise version that this build deploys; it may be a pre-release marker.
    #[must_use]
    pub const fn product_version(&self, variant: Variant) -> &ProductVersion {
        match variant {
            Variant::Calico => &self.0.calico,
            Variant::Enterprise => &self.0.enterprise,
        }
    }

    /// Returns the operator's own default image, such as `quay.io/tigera/operator:v1.42.4`.
    #[must_use]
    pub const fn own_image(&self) -> &Reference {
        &self.0.own_image
    }

    /// Returns the lists as they were printed.
    #[must_use]
    pub const fn as_printed(&self) -> &PrintedImages {
        &self.0
    }

    /// Returns the one name under which this build looks up its ImageSet.
    ///
    /// # Errors
    /// The build has a pre-release marker in place of the version.
    pub fn image_set_name(&self, variant: Variant) -> Result<ImageSetName, PreReleaseMarker> {
        let version = self.product_version(variant);
        ImageSetName::new(variant, version).ok_or_else(|| PreReleaseMarker {
            release: self.release(),
            variant,
            marker: version.clone(),
        })
    }

    /// Returns the default references to mirror for one variant, sorted as text: its list, the common images and the operator's
    /// own. With `fips`, FIPS images replace their normal counterparts; otherwise FIPS images are left out. Both tags of an
    /// Enterprise name are included, because the operator prints both.
    #[must_use]
    pub fn printed(&self, variant: Variant, fips: bool) -> Vec<Reference> {
        let tags: BTreeSet<(ImageName, &str)> =
            named(self.list(variant)).filter_map(|(name, reference)| reference.tag().map(|tag| (name, tag))).collect();
        let has_wanted_twin = |name: ImageName, tag: &str| {
            if fips {
                tags.contains(&(name, &format!("{tag}{FIPS_SUFFIX}")))
            } else {
                tag.strip_suffix(FIPS_SUFFIX).is_some_and(|normal| tags.contains(&(name, normal)))
            }
        };
        let mut printed: Vec<Reference> = named(self.list(variant))
            .filter(|(name, reference)| !reference.tag().is_some_and(|tag| has_wanted_twin(name.clone(), tag)))
            .map(|(_, reference)| reference.clone())
            .collect();
        printed.sort_by_cached_key(Reference::to_string);
        printed.dedup();
        printed
    }

    /// Returns the names of the variant's list that the validator accepts, with the default reference of each. There is one per
    /// name; of two Enterprise tags it is that of the Enterprise release. The operator's own image is not among them.
    #[must_use]
    pub fn set_images(&self, variant: Variant, fips: bool) -> BTreeMap<ImageName, Reference> {
        let mut images = self.accepted(variant, fips);
        if let Ok(own) = self.0.own_image.image_name() {
            images.remove(&own);
        }
        images
    }

    /// Returns the default reference of a name that the validator accepts: that of the variant's list, else that of the other list.
    #[must_use]
    pub fn reference_of(&self, name: &ImageName, variant: Variant, fips: bool) -> Option<Reference> {
        let other = match variant {
            Variant::Calico => Variant::Enterprise,
            Variant::Enterprise => Variant::Calico,
        };
        [variant, other].into_iter().find_map(|variant| self.accepted(variant, fips).remove(name))
    }

    /// Returns the accepted names of the variant's list, the operator's own image included.
    fn accepted(&self, variant: Variant, fips: bool) -> BTreeMap<ImageName, Reference> {
        let version = self.product_version(variant).as_str();
        let is_of_release = |reference: &Reference| {
            reference.tag().is_some_and(|tag| tag.strip_suffix(FIPS_SUFFIX).unwrap_or(tag) == version)
        };
        let mut images: BTreeMap<ImageName, Reference> = BTreeMap::new();
        for (name, reference) in named(&self.printed(variant, fips)) {
            if !self.0.rejected.contains(&name) && (is_of_release(reference) || !images.contains_key(&name)) {
                images.insert(name, reference.clone());
            }
        }
        images
    }

    /// Returns the names of all printed images, the operator's own included.
    #[must_use]
    pub fn printed_names(&self) -> BTreeSet<&str> {
        let printed = &self.0;
        let lists = [&printed.calico_images, &printed.enterprise_images, &printed.common_images];
        let all = lists.into_iter().flatten().chain([&printed.own_image]);
        all.map(Reference::key).collect()
    }

    /// Whether the validator of this build accepts an entry of this name. Any other name makes it reject the whole set
    /// (`unexpected images: …`). The validator knows the names of both variants, whichever is installed.
    #[must_use]
    pub fn accepts(&self, name: &ImageName) -> bool {
        self.known_names().contains(name)
    }

    /// Returns all names that [`Self::accepts`] is true for.
    #[must_use]
    pub fn known_names(&self) -> BTreeSet<ImageName> {
        [Variant::Calico, Variant::Enterprise]
            .into_iter()
            .flat_map(|variant| named(self.list(variant)).map(|(name, _)| name))
            .filter(|name| !self.0.rejected.contains(name))
            .collect()
    }

    /// Returns all printed references of one variant, in no particular order.
    fn list(&self, variant: Variant) -> impl Iterator<Item = &Reference> {
        let images = match variant {
            Variant::Calico => &self.0.calico_images,
            Variant::Enterprise => &self.0.enterprise_images,
        };
        images.iter().chain(&self.0.common_images).chain([&self.0.own_image])
    }
}

/// Returns the references with their keys. [`OperatorImages::new`] guarantees that each has one.
fn named<'a>(references: impl IntoIterator<Item = &'a Reference>) -> impl Iterator<Item = (ImageName, &'a Reference)> {
    references.into_iter().filter_map(|reference| Some((reference.image_name().ok()?, reference)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(texts: &[&str]) -> BTreeSet<Reference> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn printed() -> PrintedImages {
        PrintedImages {
            release: "v1.30.4".parse().unwrap(),
            calico: "v3.26.1".to_owned().into(),
            enterprise: "master".to_owned().into(),
            calico_images: references(&[
                "docker.io/calico/node:v3.26.1",
                "quay.io/calico/node:v3.26.1-fips",
                "docker.io/calico/csi:v3.26.1",
            ]),
            enterprise_images: references(&["quay.io/tigera/kibana:7.10.1", "quay.io/tigera/kibana:master"]),
            common_images: references(&["quay.io/tigera/key-cert-provisioner:v1.1.9"]),
            own_image: "quay.io/tigera/operator:v1.30.4".parse().unwrap(),
            rejected: BTreeSet::from(["tigera/operator".parse().unwrap()]),
        }
    }

    #[test]
    fn known_lists_are_far_below_the_limits() {
        let of_hosts = |hosts: usize, images: usize| PrintedImages {
            calico_images: (0..images)
                .map(|number| format!("{}.example/calico/i{number}:v1", number % hosts).parse().unwrap())
                .collect(),
            ..printed()
        };
        // The other registry is Quay.io.
        assert!(OperatorImages::new(of_hosts(MOST_REGISTRIES - 1, MOST_IMAGES - 4)).is_ok());
        let rejected = OperatorImages::new(of_hosts(60, 60)).unwrap_err();
        assert_eq!(rejected, InvalidOperatorImages::TooManyRegistries(61));
        let rejected = OperatorImages::new(of_hosts(1, 5_000)).unwrap_err();
        assert_eq!(rejected, InvalidOperatorImages::TooManyImages(5_004));
        let mut most = (0, 0);
        let catalogue = crate::catalogue::Catalogue::embedded();
        for images in catalogue.releases().filter_map(|release| catalogue.get(&release)) {
            let printed = images.as_printed();
            let all = [&printed.calico_images, &printed.enterprise_images, &printed.common_images];
            let hosts: BTreeSet<&str> = all.into_iter().flatten().map(Reference::registry).collect();
            most = (most.0.max(all.iter().map(|images| images.len()).sum::<usize>()), most.1.max(hosts.len()));
        }
        assert!(most.0 * 2 < MOST_IMAGES && most.1 * 2 <= MOST_REGISTRIES, "{most:?} are too near to the limits");
    }

    fn texts<'a>(references: impl IntoIterator<Item = &'a Reference>) -> Vec<String> {
        references.into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_set_has_one_reference_per_name_of_the_right_fips_mode_and_no_rejected_name() {
        let images = OperatorImages::new(printed()).unwrap();
        assert_eq!(
            texts(images.set_images(Variant::Calico, true).values()),
            [
                "docker.io/calico/csi:v3.26.1",
                "quay.io/calico/node:v3.26.1-fips",
                "quay.io/tigera/key-cert-provisioner:v1.1.9"
            ]
        );
        assert_eq!(
            texts(&images.printed(Variant::Calico, false)),
            [
                "docker.io/calico/csi:v3.26.1",
                "docker.io/calico/node:v3.26.1",
                "quay.io/tigera/key-cert-provisioner:v1.1.9",
                "quay.io/tigera/operator:v1.30.4"
            ]
        );
        assert!(images.accepts(&"tigera/kibana".parse().unwrap()));
        assert!(!images.accepts(&"tigera/operator".parse().unwrap()));
    }

    #[test]
    fn of_two_enterprise_tags_both_are_printed_and_the_release_is_pinned() {
        let images = OperatorImages::new(printed()).unwrap();
        assert_eq!(images.printed(Variant::Enterprise, false).len(), 4);
        let pinned = images.set_images(Variant::Enterprise, false);
        assert_eq!(pinned[&"tigera/kibana".parse().unwrap()].tag(), Some("master"));
    }

    #[test]
    fn a_pre_release_marker_has_no_set() {
        let images = OperatorImages::new(printed()).unwrap();
        assert_eq!(images.image_set_name(Variant::Calico).unwrap().as_str(), "calico-v3.26.1");
        let marker = images.image_set_name(Variant::Enterprise).unwrap_err();
        assert!(marker.to_string().contains("master") && marker.to_string().contains("v1.30.4"), "{marker}");
    }

    #[test]
    fn ambiguous_lists_are_rejected() {
        let mut two = printed();
        two.enterprise = "v3.5.0".to_owned().into();
        assert!(matches!(OperatorImages::new(two), Err(InvalidOperatorImages::Ambiguous { .. })));
        let mut registries = printed();
        registries.calico_images.extend(references(&["quay.io/calico/csi:v3.26.1"]));
        assert!(matches!(OperatorImages::new(registries), Err(InvalidOperatorImages::Ambiguous { .. })));
        let mut pinned = printed();
        let digest = crate::model::digest::Digest::of(b"");
        pinned.calico_images.extend(references(&[&format!("quay.io/calico/typha@{digest}")]));
        assert!(matches!(OperatorImages::new(pinned), Err(InvalidOperatorImages::NotByTag(_))));
    }
}
