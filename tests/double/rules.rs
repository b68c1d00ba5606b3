//! The rules against every row of `tests/facts/operator-behaviour.md`.

use std::collections::BTreeSet;

use crate::testbox::operator_images::OperatorImages;
use crate::testbox::rules::{
    Component, Entry, Features, NamedSet, OperatorRules, RegistryLayout, Rejection, Selection, Variant, accepts,
    all_versions, strict_problems, versions_wanting,
};

/// The name of an ImageSet's digest in these tests: well-formed and different for each image.
fn digest(name: &str) -> String {
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn entries<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Entry> {
    names.into_iter().map(|name| (name.to_owned(), digest(name))).collect()
}

fn complete(version: &str) -> Vec<Entry> {
    let names = rules(version).names_of(Variant::Calico);
    entries(names.iter().map(String::as_str))
}

fn without(mut set: Vec<Entry>, names: &[&str]) -> Vec<Entry> {
    set.retain(|(name, _)| !names.contains(&name.as_str()));
    set
}

fn rules(version: &str) -> OperatorRules {
    OperatorRules::for_version(version).unwrap()
}

fn named(name: &str, entries: Vec<Entry>) -> NamedSet {
    NamedSet { name: name.to_owned(), entries }
}

fn rejection(component: &str, reason: &str, message: &str) -> Rejection {
    Rejection { component: component.to_owned(), reason: reason.to_owned(), message: message.to_owned() }
}

fn judge(
    version: &str,
    component: Component,
    features: Features,
    sets: &[NamedSet],
) -> Result<Option<String>, Rejection> {
    let used = rules(version).judge(component, Variant::Calico, features, sets)?;
    Ok(used.map(|set| set.name.clone()))
}

fn with_api_server() -> Features {
    Features { api_server: true, ..Features::none() }
}

/// What the documented script writes: nine fixed names, of those that the operator prints (without csi and its kin).
fn documented_script(version: &str) -> Vec<Entry> {
    let mut set = without(complete(version), &["calico/csi", "calico/node-driver-registrar"]);
    if !set.iter().any(|(name, _)| name == "tigera/operator") {
        set.push(("tigera/operator".to_owned(), digest("tigera/operator")));
    }
    set
}

#[test]
fn the_facts_hold_every_release_that_knows_image_sets() {
    let versions = all_versions();
    assert_eq!(versions.len(), 264);
    assert_eq!(versions.first().unwrap().to_string(), "v1.14.0");
    assert_eq!(versions.last().unwrap().to_string(), "v1.43.0");
}

#[test]
fn names_belong_to_the_calico_release_and_are_not_computable() {
    let wanted = |version| rules(version).expected_set_name(Variant::Calico);
    assert_eq!(wanted("v1.38.1"), "calico-v3.30.1");
    assert_eq!(wanted("v1.38.2"), "calico-v3.30.1");
    assert_eq!(wanted("v1.42.4"), "calico-v3.32.1");
    assert_eq!(wanted("v1.43.0"), "calico-v3.32.0");
    assert_eq!(wanted("v1.41.0"), "calico-master");
    assert_eq!(rules("v1.42.4").expected_set_name(Variant::Enterprise), "enterprise-v3.23.1");
    let wanting: Vec<String> =
        versions_wanting("calico-v3.32.1").into_iter().map(|(version, _)| version.to_string()).collect();
    assert_eq!(wanting, ["v1.42.3", "v1.42.4"]);
    assert!(OperatorRules::for_version("v1.99.0").is_err());
    assert!(OperatorRules::for_version("1.42.4").is_err());
}

#[test]
fn a_complete_set_passes_with_every_feature_in_every_release_and_variant() {
    for version in all_versions() {
        for variant in [Variant::Calico, Variant::Enterprise] {
            let rules = OperatorRules::new(version).unwrap();
            // Enterprise of v1.32 and v1.33 requires Windows images that it rejects.
            let windows_hns = rules.required_names(variant, Features::all()).is_subset(rules.known_names());
            for features in [Features::none(), Features { windows_hns, ..Features::all() }] {
                let names = &rules.names_of(variant) | &rules.required_names(variant, features);
                let set = entries(names.iter().map(String::as_str));
                assert_eq!(accepts(&version.to_string(), variant, &set, features), Ok(()), "{version} {variant:?}");
                assert_eq!(strict_problems(&version.to_string(), variant, &set, features), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn the_operators_own_image_is_refused_from_v1_36_on() {
    for version in all_versions() {
        let text = version.to_string();
        let rejected = version >= "v1.36.0".parse().unwrap();
        assert_eq!(!rules(&text).known_names().contains("tigera/operator"), rejected, "{text}");
        let printed = rules(&text).printed_references().any(|reference| reference.contains("/tigera/operator:"));
        assert!(printed, "{text} prints its own image");
    }
}

#[test]
fn a_set_of_the_documented_script() {
    let set = documented_script("v1.42.4");
    let sets = [named("calico-v3.32.1", set)];
    assert_eq!(
        judge("v1.42.4", Component::Calico, with_api_server(), &sets),
        Err(rejection(
            "calico",
            "ResourceValidationError",
            "Error validating ImageSet: ImageSet calico-v3.32.1: unexpected images: tigera/operator"
        ))
    );
    assert_eq!(
        judge("v1.42.4", Component::ApiServer, with_api_server(), &sets),
        Err(rejection(
            "apiserver",
            "ResourceUpdateError",
            "Error with images from ImageSet: ImageSet calico-v3.32.1: unexpected images: tigera/operator"
        ))
    );
    assert_eq!(accepts("v1.25.7", Variant::Calico, &documented_script("v1.25.7"), Features::none()), Ok(()));
    for version in ["v1.30.4", "v1.34.5"] {
        let rejected = accepts(version, Variant::Calico, &documented_script(version), Features::none()).unwrap_err();
        assert!(rejected.message.contains("did not contain image calico/csi"), "{version}: {}", rejected.message);
    }
}

#[test]
fn missing_images_in_the_words_of_each_release() {
    let missing = ["calico/typha", "calico/pod2daemon-flexvol", "calico/cni"];
    let causes = "ImageSet did not contain image calico/typha, \
                  ImageSet did not contain image calico/pod2daemon-flexvol,ImageSet did not contain image calico/cni";
    let verdict = |version| {
        accepts(version, Variant::Calico, &without(complete(version), &missing), Features::none()).unwrap_err()
    };
    assert_eq!(
        verdict("v1.25.7"),
        rejection("calico", "Error resolving ImageSet for components", &format!("Invalid ImageSet: {causes}"))
    );
    for version in ["v1.30.4", "v1.34.5"] {
        let message = format!("Error resolving ImageSet for components: Invalid ImageSet: {causes}");
        assert_eq!(verdict(version), rejection("calico", "ResourceValidationError", &message));
    }
    for version in ["v1.42.4", "v1.43.0"] {
        let message = format!("Error resolving ImageSet for components: invalid ImageSet: {causes}");
        assert_eq!(verdict(version), rejection("calico", "ResourceValidationError", &message));
    }
}

#[test]
fn key_cert_provisioner_missing() {
    let sets = [named("calico-v3.32.1", without(complete("v1.42.4"), &["calico/key-cert-provisioner"]))];
    assert_eq!(
        judge("v1.42.4", Component::ApiServer, with_api_server(), &sets),
        Err(rejection(
            "apiserver",
            "ResourceCreateError",
            "Unable to create the Tigera CA: ImageSet did not contain image calico/key-cert-provisioner"
        ))
    );
    let old = without(complete("v1.30.4"), &["tigera/key-cert-provisioner"]);
    assert_eq!(accepts("v1.30.4", Variant::Calico, &old, Features::none()), Ok(()));
}

#[test]
fn the_name_of_key_cert_provisioner_changed_with_v1_34() {
    for version in all_versions() {
        let known = OperatorRules::new(version).unwrap().known_names().clone();
        assert_eq!(known.contains("calico/key-cert-provisioner"), version >= "v1.34.0".parse().unwrap(), "{version}");
    }
    // Enterprise's own list keeps the tigera name in many releases, and all lists count together.
    let mut set = complete("v1.43.0");
    set.push(("tigera/key-cert-provisioner".to_owned(), digest("x")));
    let rejected = accepts("v1.43.0", Variant::Calico, &set, Features::none()).unwrap_err();
    assert!(rejected.message.contains("unexpected images: tigera/key-cert-provisioner"), "{}", rejected.message);
}

#[test]
fn a_missing_feature_image_degrades_that_component_only() {
    let features = Features { gateway_api: true, ..Features::none() };
    let sets = [named("calico-v3.32.1", without(complete("v1.42.4"), &["calico/envoy-proxy"]))];
    assert_eq!(judge("v1.42.4", Component::Calico, features, &sets), Ok(Some("calico-v3.32.1".to_owned())));
    assert_eq!(
        judge("v1.42.4", Component::GatewayApi, features, &sets),
        Err(rejection(
            "gatewayapi",
            "ResourceCreateError",
            "Error with images from ImageSet: invalid ImageSet: ImageSet did not contain image calico/envoy-proxy"
        ))
    );
}

#[test]
fn only_another_versions_set_exists() {
    let sets = [named("calico-v0.0.0", complete("v1.42.4"))];
    let verdict = |version, component| judge(version, component, with_api_server(), &sets).unwrap_err();
    assert_eq!(
        verdict("v1.25.7", Component::Calico),
        rejection("calico", "Error getting ImageSet", "ImageSets exist but none with the expected name calico-v3.22.2")
    );
    assert_eq!(
        verdict("v1.30.4", Component::Calico),
        rejection(
            "calico",
            "ResourceReadError",
            "Error getting ImageSet: ImageSets exist but none with the expected name calico-v3.26.1"
        )
    );
    for (version, name) in [("v1.34.5", "v3.28.2"), ("v1.42.4", "v3.32.1"), ("v1.43.0", "v3.32.0")] {
        for (component, status) in [(Component::Calico, "calico"), (Component::ApiServer, "apiserver")] {
            let message = format!(
                "Unable to create the Tigera CA: ImageSets exist but none with the expected name calico-{name}"
            );
            assert_eq!(verdict(version, component), rejection(status, "ResourceCreateError", &message));
        }
    }
}

#[test]
fn sets_of_another_prefix_block_old_releases_only() {
    for name in ["foo", "enterprise-v3.23.1"] {
        let sets = [named(name, vec![])];
        for (version, expected) in [
            ("v1.25.7", Selection::Blocked),
            ("v1.30.4", Selection::Blocked),
            ("v1.34.5", Selection::Tags),
            ("v1.42.4", Selection::Tags),
            ("v1.43.0", Selection::Tags),
        ] {
            assert_eq!(rules(version).select(Variant::Calico, &sets), expected, "{version} with {name}");
        }
    }
    assert_eq!(rules("v1.42.4").select(Variant::Enterprise, &[named("enterprise-v1", vec![])]), Selection::Blocked);
    assert_eq!(rules("v1.42.4").select(Variant::Calico, &[]), Selection::Tags);
}

#[test]
fn digests_only_have_to_begin_with_sha256() {
    let mut set = complete("v1.42.4");
    let csi = set.iter_mut().find(|(name, _)| name == "calico/csi").unwrap();
    csi.1 = "md5:5371".to_owned();
    assert_eq!(
        accepts("v1.42.4", Variant::Calico, &set, Features::none()),
        Err(rejection(
            "calico",
            "ResourceValidationError",
            "Error validating ImageSet: ImageSet calico-v3.32.1: bad digest images: calico/csi@md5:5371"
        ))
    );
    let csi = set.iter_mut().find(|(name, _)| name == "calico/csi").unwrap();
    csi.1 = "sha256:nonsense".to_owned();
    assert_eq!(accepts("v1.42.4", Variant::Calico, &set, Features::none()), Ok(()));
    assert_eq!(strict_problems("v1.42.4", Variant::Calico, &set, Features::none()).len(), 1);
}

#[test]
fn of_duplicates_the_first_counts_and_the_invariant_refuses() {
    let mut set = complete("v1.42.4");
    set.push(("calico/node".to_owned(), digest("another")));
    assert_eq!(accepts("v1.42.4", Variant::Calico, &set, Features::none()), Ok(()));
    assert_eq!(named("x", set.clone()).digest("calico/node"), Some(digest("calico/node").as_str()));
    assert_eq!(strict_problems("v1.42.4", Variant::Calico, &set, Features::none()), ["calico/node is listed twice"]);
}

#[test]
fn images_insisted_on() {
    let required = |version, features| rules(version).required_names(Variant::Calico, features);
    let set = |names: &[&str]| names.iter().map(|name| format!("calico/{name}")).collect::<BTreeSet<_>>();
    let v1_25 = ["node", "cni", "kube-controllers", "pod2daemon-flexvol", "typha", "windows-upgrade"];
    assert_eq!(required("v1.25.7", Features::none()), set(&v1_25));
    let v1_30 = [&v1_25[..], &["csi", "node-driver-registrar"]].concat();
    assert_eq!(required("v1.30.4", Features::none()), set(&v1_30));
    assert_eq!(required("v1.30.4", with_api_server()), set(&[&v1_30[..], &["apiserver"]].concat()));
    let v1_34 = [
        "node",
        "cni",
        "csi",
        "key-cert-provisioner",
        "kube-controllers",
        "node-driver-registrar",
        "pod2daemon-flexvol",
        "typha",
    ];
    for version in ["v1.34.5", "v1.42.4", "v1.43.0"] {
        assert_eq!(required(version, Features::none()), set(&v1_34), "{version}");
        assert_eq!(required(version, with_api_server()), set(&[&v1_34[..], &["apiserver"]].concat()), "{version}");
    }
    let none = Features::none();
    for (features, names) in [
        (Features { goldmane: true, ..none }, &["goldmane"][..]),
        (Features { whisker: true, ..none }, &[]),
        (Features { goldmane: true, whisker: true, ..none }, &["goldmane", "whisker", "whisker-backend"]),
        (Features { gateway_api: true, ..none }, &["envoy-gateway", "envoy-proxy", "envoy-ratelimit"]),
        (Features { istio: true, ..none }, &["istio-pilot", "istio-install-cni", "istio-ztunnel", "istio-proxyv2"]),
        (Features { management_cluster_connection: true, ..none }, &["guardian"]),
        (Features { windows_hns: true, ..none }, &["node-windows", "cni-windows"]),
    ] {
        assert_eq!(required("v1.42.4", features), set(&[&v1_34[..], names].concat()));
    }
    assert_eq!(required("v1.34.5", Features { goldmane: true, ..none }), set(&v1_34), "no such image yet");
}

#[test]
fn no_set_satisfies_both_v1_30_4_and_v1_32_0() {
    let expected = |version| rules(version).expected_set_name(Variant::Calico);
    assert_eq!(expected("v1.30.4"), expected("v1.32.0"));
    let old = rules("v1.30.4").required_names(Variant::Calico, Features::none());
    assert!(old.contains("calico/windows-upgrade"));
    assert!(!rules("v1.32.0").known_names().contains("calico/windows-upgrade"));
}

#[test]
fn a_fork_refuses_one_name_more() {
    let fork = rules("v1.42.4").refusing("calico/guardian");
    let set = named("calico-v3.32.1", complete("v1.42.4"));
    assert_eq!(fork.validation_error(&set).unwrap(), "ImageSet calico-v3.32.1: unexpected images: calico/guardian");
}

#[test]
fn default_references_differ_per_image_and_with_fips() {
    let reference =
        |version, name, fips| rules(version).default_reference(Variant::Calico, name, fips).unwrap_or_default();
    assert_eq!(reference("v1.30.4", "calico/node", false), "docker.io/calico/node:v3.26.1");
    assert_eq!(reference("v1.30.4", "calico/node", true), "quay.io/calico/node:v3.26.1-fips");
    assert_eq!(reference("v1.30.4", "calico/windows-upgrade", true), "docker.io/calico/windows-upgrade:v3.26.1");
    assert_eq!(reference("v1.43.0", "calico/node", true), "quay.io/calico/node:v3.32.0");
    let enterprise = rules("v1.27.17").default_reference(Variant::Enterprise, "tigera/elasticsearch", false);
    assert_eq!(enterprise.unwrap(), "quay.io/tigera/elasticsearch:v3.14.4");
}

#[test]
fn references_as_nodes_pull_them() {
    let render = |layout: &RegistryLayout, digest| {
        rules("v1.42.4").rendered_reference(Variant::Calico, "calico/node", false, layout, digest).unwrap()
    };
    let layout = |registry: &str, path: &str, prefix: &str| RegistryLayout {
        registry: registry.to_owned(),
        image_path: path.to_owned(),
        image_prefix: prefix.to_owned(),
    };
    assert_eq!(render(&layout("", "", ""), None), "quay.io/calico/node:v3.32.1");
    assert_eq!(render(&layout("UseDefault", "UseDefault", "UseDefault"), None), "quay.io/calico/node:v3.32.1");
    assert_eq!(
        render(&layout("docker.io", "rancher", "mirrored-calico-"), None),
        "docker.io/rancher/mirrored-calico-node:v3.32.1"
    );
    assert_eq!(
        render(&layout("mcr.microsoft.com/", "oss/calico", ""), Some("sha256:aa")),
        "mcr.microsoft.com/oss/calico/node@sha256:aa"
    );
}

#[test]
fn only_the_bytes_of_an_operator_image_decide() {
    let digest = digest("an operator");
    let images = OperatorImages::new()
        .with(&digest, rules("v1.40.15").refusing("calico/csi"))
        .with_reference("quay.io/tigera/operator:v1.43.0", &digest);
    let version = |image: &str, image_id: &str| images.rules(image, image_id).map(|rules| rules.version.to_string());
    let known = Some("v1.40.15".to_owned());
    assert_eq!(version("quay.io/tigera/operator:v1.42.4", ""), Some("v1.42.4".to_owned()));
    assert_eq!(version(&format!("localhost:5000/operator:v1.42.4@{digest}"), ""), known);
    assert_eq!(version("quay.io/tigera/operator:v1.42.4", &format!("quay.io/tigera/operator@{digest}")), known);
    assert_eq!(version("quay.io/tigera/operator:v1.43.0", ""), known);
    assert_eq!(version("localhost:5000/operator", ""), None);
    assert_eq!(version("quay.io/tigera/operator:latest", ""), None);
    assert_eq!(images.image_id("quay.io/tigera/operator:v1.43.0"), format!("quay.io/tigera/operator@{digest}"));
    assert_eq!(
        images.image_id(&format!("localhost:5000/operator@{digest}")),
        format!("localhost:5000/operator@{digest}")
    );
    assert_eq!(images.image_id("quay.io/tigera/operator:v1.42.4"), "");
    assert!(!images.rules("x/operator:v1.43.0", &format!("x@{digest}")).unwrap().known_names().contains("calico/csi"));
}
