//! The images that an operator build requires for the objects in the cluster. If a set lacks a required entry, the operator
//! rejects the whole set (`ImageSet did not contain image …`).
//!
//! The tables were found by extending a set on real operators until no message named a further image, on v1.25.7, v1.30.4,
//! v1.34.5, v1.42.4 and v1.43.0. The rows of Istio, ManagementClusterConnection and Windows are from the operator's source.
//! Images that were not observed count as required: that holds a set back, and breaks nothing.

use std::collections::BTreeSet;

use crate::model::{Feature, ImageName, OperatorImages, Release, Variant};

/// The series between the first and the last observed release. Outside of it no image is known to be optional.
const OBSERVED: std::ops::RangeInclusive<(u16, u16)> = (1, 25)..=(1, 43);

/// Names that no feature requires and that the observed releases of these series did not require either.
const NEVER_REQUIRED: [(&str, std::ops::RangeInclusive<(u16, u16)>); 3] = [
    // v1.25.7 and v1.30.4 require it for certificate management only; v1.31 to v1.33 were not observed.
    ("tigera/key-cert-provisioner", (1, 25)..=(1, 30)),
    // v1.42.4 and v1.43.0.
    ("calico/webhooks", (1, 42)..=(1, 43)),
    // v1.25.7, v1.30.4 and v1.34.5 accept it without requiring it; later releases reject it.
    ("tigera/operator", (1, 25)..=(1, 35)),
];

impl OperatorImages {
    /// Returns the names that this build requires for an Installation of `variant` with these features.
    ///
    /// For Enterprise, and for releases outside the observed ones, every name of the variant is required: too little is known to
    /// leave one out. The same applies to a name that no table has, such as that of a new component.
    #[must_use]
    pub fn requires(&self, variant: Variant, features: &BTreeSet<Feature>) -> BTreeSet<ImageName> {
        let all = self.set_images(variant, false).into_keys();
        match variant {
            Variant::Enterprise => all.collect(),
            Variant::Calico => all.filter(|name| is_required(self.release(), name.as_str(), features)).collect(),
        }
    }
}

/// Whether an operator of this release requires a name of its Calico list.
fn is_required(release: Release, name: &str, features: &BTreeSet<Feature>) -> bool {
    let series = release.series();
    if !OBSERVED.contains(&series) {
        return true;
    }
    match Feature::ALL.iter().find(|feature| feature.images().contains(&name)) {
        Some(feature) => features.contains(feature),
        None => !NEVER_REQUIRED.iter().any(|(optional, when)| *optional == name && when.contains(&series)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn requires(release: &str, features: &[Feature]) -> Vec<String> {
        let images = Catalogue::embedded().get(&release.parse().unwrap()).unwrap();
        let features = features.iter().copied().collect();
        images.requires(Variant::Calico, &features).into_iter().map(String::from).collect()
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
        assert!(requires("v1.42.4", &[Feature::Istio]).contains(&"calico/istio-ztunnel".to_owned()));
        assert!(requires("v1.32.0", &[Feature::WindowsHns]).contains(&"calico/node-windows".to_owned()));
    }

    #[test]
    fn every_image_of_an_unobserved_release_is_required() {
        assert!(requires("v1.20.0", &[]).contains(&"calico/apiserver".to_owned()));
        assert!(requires("v1.33.0", &[]).contains(&"tigera/key-cert-provisioner".to_owned()));
        let images = Catalogue::embedded().get(&"v1.42.4".parse().unwrap()).unwrap();
        assert_eq!(
            images.requires(Variant::Enterprise, &BTreeSet::new()).len(),
            images.set_images(Variant::Enterprise, false).len()
        );
    }
}
