//! The images that an operator build requires for what is in the cluster. If a set lacks a required entry, the operator rejects it
//! (`ImageSet did not contain image …`). Where a build requires an entry that its own validator rejects, no ImageSet is possible.
//!
//! Which image is required on which condition is compiled into each operator. It is data (`data/required-images.txt`, see [`table`]
//! for its format), read from the operator's source at every release.

pub mod condition;
pub mod source;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use self::condition::RuleCondition;
use self::table::{Range, RequiredTable};
use crate::catalogue::Catalogue;
use crate::model::{Feature, ImageName, InstallationSettings, OperatorImages, Reference, Variant};

/// The name of the data file in the directory `data/` of a checkout.
pub const FILE_NAME: &str = "required-images.txt";

/// The compiled-in data file.
const EMBEDDED: &str = include_str!("../../data/required-images.txt");

impl RequiredTable<'static> {
    /// Returns the compiled-in table, which is parsed once. Tests prove that it parses. If it did not, it would be empty, so that
    /// every image of every release counts as required.
    #[must_use]
    pub fn embedded() -> &'static Self {
        static TABLE: OnceLock<RequiredTable<'static>> = OnceLock::new();
        TABLE.get_or_init(|| Self::parse(EMBEDDED).unwrap_or_default())
    }
}

/// Returns the rules of a build, if they are known.
///
/// A build that prints other names than the release that the rules were read from is another build: its rules are not known. A later
/// patch release, or a rebuild, that prints the same names has the same rules: in no minor series of v1.14 to v1.43 did the rules
/// change without a change of the names.
fn range_of(images: &OperatorImages) -> Option<&'static Range<'static>> {
    let (table, release) = (RequiredTable::embedded(), images.release().base());
    let (range, read_from) = match table.range_of(release) {
        Some(range) => (range, release),
        None => {
            let range = table.range_before(release).filter(|range| range.from.series() == release.series())?;
            (range, range.to)
        }
    };
    let names = Catalogue::embedded().printed_names(&read_from)?;
    (names == images.printed_names()).then_some(range)
}

impl OperatorImages {
    /// Whether it is known which images this build requires.
    #[must_use]
    pub fn has_known_requirements(&self) -> bool {
        range_of(self).is_some()
    }

    /// Returns the names that this build requires for an Installation of `variant` with these features.
    ///
    /// If the rules of the build are not known, every name of the variant is required: nothing shows which of them can be left out.
    #[must_use]
    pub fn requires(&self, variant: Variant, features: &BTreeSet<Feature>) -> BTreeSet<ImageName> {
        self.required_if(variant, |condition| condition.holds(features))
    }

    /// Returns the names that this build requires for `variant` with any features.
    #[must_use]
    pub fn may_require(&self, variant: Variant) -> BTreeSet<ImageName> {
        self.required_if(variant, |_| true)
    }

    /// The same less what it requires for Calico only where the definitions of Enterprise are installed: its registry does not serve
    /// that to everybody.
    #[must_use]
    pub fn may_require_in_cluster_of(&self, variant: Variant) -> BTreeSet<ImageName> {
        self.required_if(variant, |condition| {
            variant == Variant::Enterprise || condition != RuleCondition::IstioEnterprise
        })
    }

    fn required_if(&self, variant: Variant, holds: impl Fn(RuleCondition) -> bool) -> BTreeSet<ImageName> {
        match range_of(self) {
            Some(range) => {
                let images = range.images(variant).filter(|(condition, _)| holds(*condition));
                // A fork may reject what its upstream build requires.
                let known = self.known_names();
                images.map(|(_, name)| name).filter(|name| known.contains(name)).collect()
            }
            None => self.set_images(variant, false).into_keys().chain(self.own_entry(&holds)).collect(),
        }
    }

    /// Returns the operator's own image, if a build of unknown rules may require it.
    fn own_entry(&self, holds: &impl Fn(RuleCondition) -> bool) -> Option<ImageName> {
        let own = self.own_image().image_name().ok()?;
        (holds(RuleCondition::OpenShiftOnAws) && self.accepts(&own)).then_some(own)
    }

    /// Returns the entries of this build's ImageSet with the default reference of each: the names of the variant's list, and those
    /// that it requires beside them.
    ///
    /// Enterprise requires names of Calico's list and, in v1.40.3 to v1.41.1, the reverse. The operator's own image is an entry only
    /// where something requires it.
    #[must_use]
    pub fn entries(
        &self,
        variant: Variant,
        fips: bool,
        required: &BTreeSet<ImageName>,
    ) -> BTreeMap<ImageName, Reference> {
        let mut entries = self.set_images(variant, fips);
        let more = required.iter().filter(|name| !entries.contains_key(*name));
        let more: Vec<_> =
            more.filter_map(|name| Some((name.clone(), self.reference_of(name, variant, fips)?))).collect();
        entries.extend(more);
        entries
    }

    /// Returns the default references that a mirror needs for one variant, sorted as text: what [`Self::printed`] returns, and the
    /// images of the other variant's list that this build may require in a cluster of this variant.
    #[must_use]
    pub fn to_mirror(&self, variant: Variant, fips: bool) -> BTreeSet<Reference> {
        let printed = self.printed(variant, fips);
        let names: BTreeSet<&str> = printed.iter().map(Reference::key).collect();
        let may_require =
            self.may_require_in_cluster_of(variant).into_iter().filter(|name| !names.contains(name.as_str()));
        let more: Vec<Reference> = may_require.filter_map(|name| self.reference_of(&name, variant, fips)).collect();
        printed.into_iter().chain(more).collect()
    }

    /// Returns the condition under which this build requires an image, if it is more than an Installation.
    #[must_use]
    pub fn required_for(&self, variant: Variant, name: &ImageName) -> Option<RuleCondition> {
        let mut rules = range_of(self)?.images(variant);
        rules
            .find(|(condition, image)| image == name && *condition != RuleCondition::Always)
            .map(|(condition, _)| condition)
    }

    /// Returns the conditions that do not hold with these features, with the images that this build would require for each.
    #[must_use]
    pub fn required_with_more(
        &self,
        variant: Variant,
        features: &BTreeSet<Feature>,
    ) -> BTreeMap<RuleCondition, BTreeSet<ImageName>> {
        let mut further: BTreeMap<RuleCondition, BTreeSet<ImageName>> = BTreeMap::new();
        for (condition, name) in range_of(self).into_iter().flat_map(|range| range.images(variant)) {
            if !condition.holds(features) {
                further.entry(condition).or_default().insert(name);
            }
        }
        further
    }

    /// Returns why this build can have no ImageSet in a cluster with this Installation and these features.
    ///
    /// What the newest release cannot do, a newer build of unknown rules cannot do either, unless its lists show that it can.
    #[must_use]
    pub fn no_set(&self, installation: &InstallationSettings, features: &BTreeSet<Feature>) -> Option<RuleCondition> {
        let table = RequiredTable::embedded();
        let release = self.release().base();
        let range = table.range_of(release).or_else(|| table.range_before(release))?;
        let own_image = |condition: RuleCondition| {
            let name = self.own_image().image_name();
            condition != RuleCondition::OpenShiftOnAws || !name.is_ok_and(|name| self.accepts(&name))
        };
        range.without_set(installation.variant).find(|condition| {
            let holds = condition.holds(features) || (*condition == RuleCondition::Fips && installation.fips);
            holds && own_image(*condition)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PrintedImages;

    fn images(release: &str) -> OperatorImages {
        Catalogue::embedded().get(&release.parse().unwrap()).unwrap()
    }

    fn requires(release: &str, features: &[Feature]) -> Vec<String> {
        let features = features.iter().copied().collect();
        images(release).requires(Variant::Calico, &features).into_iter().map(String::from).collect()
    }

    fn calico(names: &[&str]) -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(|name| format!("calico/{name}")).collect();
        names.sort();
        names
    }

    #[test]
    fn required_images_match_the_observed_operators() {
        let oldest = ["node", "cni", "kube-controllers", "pod2daemon-flexvol", "typha", "windows-upgrade"];
        assert_eq!(requires("v1.25.7", &[]), calico(&oldest));
        let mut with_csi = oldest.to_vec();
        with_csi.extend(["csi", "node-driver-registrar"]);
        assert_eq!(requires("v1.30.4", &[]), calico(&with_csi));
        with_csi.push("apiserver");
        assert_eq!(requires("v1.30.4", &[Feature::ApiServer]), calico(&with_csi));
        let mut newest: Vec<&str> =
            with_csi.iter().map(|n| if *n == "windows-upgrade" { "key-cert-provisioner" } else { n }).collect();
        for release in ["v1.34.5", "v1.42.4", "v1.43.0"] {
            assert_eq!(requires(release, &[Feature::ApiServer]), calico(&newest), "{release}");
        }
        newest.extend(["goldmane", "whisker", "whisker-backend"]);
        assert_eq!(requires("v1.42.4", &[Feature::ApiServer, Feature::Goldmane, Feature::Whisker]), calico(&newest));
    }

    #[test]
    fn native_definitions_replace_the_api_server_by_webhooks() {
        let has = |features: &[Feature], name: &str| requires("v1.43.0", features).contains(&name.to_owned());
        let native = [Feature::ApiServer, Feature::NativeDefinitions];
        assert!(has(&[Feature::ApiServer], "calico/apiserver") && !has(&[Feature::ApiServer], "calico/webhooks"));
        assert!(has(&native, "calico/webhooks") && !has(&native, "calico/apiserver"));
        let unclear = [Feature::ApiServer, Feature::NativeDefinitionsUnclear];
        assert!(has(&unclear, "calico/webhooks") && has(&unclear, "calico/apiserver"));
    }

    #[test]
    fn a_later_patch_release_with_the_same_names_has_the_same_rules() {
        let later = images("v1.42.4").of_release("v1.42.9".parse().unwrap());
        assert_eq!(later.requires(Variant::Calico, &BTreeSet::new()).len(), 8);
        assert!(images("v1.38.2").of_release("v1.38.2-1".parse().unwrap()).has_known_requirements());
        assert!(!images("v1.43.0").of_release("v1.99.0".parse().unwrap()).has_known_requirements());
    }

    #[test]
    fn every_image_of_a_build_with_other_names_is_required() {
        let mut printed: PrintedImages = images("v1.42.4").into();
        printed.calico_images.insert("quay.io/calico/new:v3.32.1".parse().unwrap());
        let fork = OperatorImages::new(printed).unwrap();
        assert!(!fork.has_known_requirements());
        let all: BTreeSet<ImageName> = fork.set_images(Variant::Calico, false).into_keys().collect();
        assert_eq!(fork.requires(Variant::Calico, &BTreeSet::new()), all);
    }

    #[test]
    fn no_set_is_possible_where_the_operator_rejects_what_it_requires() {
        let no_set = |images: OperatorImages, fips: bool, features: &[Feature]| {
            let installation = InstallationSettings { fips, ..InstallationSettings::default() };
            images.no_set(&installation, &features.iter().copied().collect())
        };
        let aws = [Feature::OpenShiftOnAws];
        assert_eq!(no_set(images("v1.36.0"), false, &aws), Some(RuleCondition::OpenShiftOnAws));
        assert_eq!(no_set(images("v1.35.3"), false, &aws), None);
        assert_eq!(no_set(images("v1.36.0"), false, &[]), None);
        assert_eq!(no_set(images("v1.43.0"), true, &[]), Some(RuleCondition::Fips));
        assert_eq!(no_set(images("v1.42.4"), true, &[]), None);
        let next = images("v1.43.0").of_release("v1.99.0".parse().unwrap());
        assert_eq!(no_set(next.clone(), false, &aws), Some(RuleCondition::OpenShiftOnAws), "nothing shows otherwise");
        assert_eq!(no_set(next, true, &[]), Some(RuleCondition::Fips));
        let accepting = images("v1.35.3").of_release("v1.99.0".parse().unwrap());
        assert_eq!(no_set(accepting, false, &aws), None, "its validator accepts tigera/operator");
    }
}
