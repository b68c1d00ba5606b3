//! Every image of every release under the layouts of real clusters: placed where the operator looks for it (by the rules of
//! the tests' own operator double, which are text and know nothing of the product), under the same key and tag.

use std::collections::BTreeSet;

use imageset_controller::catalogue::Catalogue;
use imageset_controller::model::{Digest, ImageName, Reference, RegistryLayout, Variant};

use crate::VARIANTS;
use crate::rules::{self, OperatorRules};

/// An Installation's `registry`, `imagePath` and `imagePrefix`, and where `quay.io/calico/node:v3.32.1` is then.
type Row = (&'static str, [&'static str; 3], &'static str);

/// Layouts as distributions, clouds, mirrors and caches have them.
const LAYOUTS: [Row; 28] = [
    ("default", ["", "", ""], "quay.io/calico/node"),
    ("default, spelled out", ["UseDefault", "UseDefault", "UseDefault"], "quay.io/calico/node"),
    ("default registry, spelled out", ["UseDefault", "mirror", ""], "quay.io/mirror/node"),
    ("registry", ["registry.example.com/", "", ""], "registry.example.com/calico/node"),
    ("registry without its slash", ["registry.example.com", "", ""], "registry.example.com/calico/node"),
    ("registry with port", ["registry.example.com:5000/", "", ""], "registry.example.com:5000/calico/node"),
    ("registry with a port and no dot", ["registry:5000/", "", ""], "registry:5000/calico/node"),
    ("registry in capitals", ["Registry.Example.COM:5000/", "", ""], "Registry.Example.COM:5000/calico/node"),
    ("registry at an address", ["10.20.30.40:5000/", "", ""], "10.20.30.40:5000/calico/node"),
    ("registry at an IPv6 address", ["[2001:db8::1]:5000/", "", ""], "[2001:db8::1]:5000/calico/node"),
    ("IPv6 address, no port", ["[2001:db8::1]", "mirror", "x-"], "[2001:db8::1]/mirror/x-node"),
    ("registry of this machine", ["localhost:5000", "", ""], "localhost:5000/calico/node"),
    ("imagePath", ["", "mirror", ""], "quay.io/mirror/node"),
    ("imagePath of several segments", ["", "mirrors/quay/calico", ""], "quay.io/mirrors/quay/calico/node"),
    ("imagePrefix", ["", "", "calico-"], "quay.io/calico/calico-node"),
    ("imagePath and imagePrefix", ["reg.example/", "team/infra", "calico-"], "reg.example/team/infra/calico-node"),
    ("Docker Hub", ["docker.io/", "", ""], "docker.io/calico/node"),
    ("Docker Hub by its old name", ["index.docker.io/", "", ""], "docker.io/calico/node"),
    ("Docker Hub by its host", ["registry-1.docker.io/", "", ""], "registry-1.docker.io/calico/node"),
    // https://github.com/rancher/rke2/issues/8304 and /pull/9258 (and with system-default-registry, /issues/1236).
    ("RKE2", ["docker.io", "rancher", "mirrored-calico-"], "docker.io/rancher/mirrored-calico-node"),
    ("RKE2, own registry", ["reg.example", "rancher", "mirrored-calico-"], "reg.example/rancher/mirrored-calico-node"),
    // https://github.com/tigera/operator/issues/1786 and https://github.com/projectcalico/calico/issues/11362.
    ("AKS", ["mcr.microsoft.com/", "oss/calico", ""], "mcr.microsoft.com/oss/calico/node"),
    ("AKS, path in the registry", ["mcr.microsoft.com/oss", "", ""], "mcr.microsoft.com/oss/calico/node"),
    ("AKS of today", ["mcr.microsoft.com/mirror/quay/", "", ""], "mcr.microsoft.com/mirror/quay/calico/node"),
    // Pull-through caches put the upstream's name in front of the path.
    (
        "ECR cache",
        ["1.dkr.ecr.eu-west-1.amazonaws.com/quay", "", ""],
        "1.dkr.ecr.eu-west-1.amazonaws.com/quay/calico/node",
    ),
    ("GAR remote", ["europe-docker.pkg.dev/proj/quay", "", ""], "europe-docker.pkg.dev/proj/quay/calico/node"),
    ("Harbor proxy project", ["harbor.example.com/quay-proxy/", "", ""], "harbor.example.com/quay-proxy/calico/node"),
    // https://github.com/chainguard-images/images/pull/1386
    ("hardened rebuilds", ["cgr.dev", "chainguard", "calico-"], "cgr.dev/chainguard/calico-node"),
];

fn layout([registry, image_path, image_prefix]: [&str; 3]) -> RegistryLayout {
    RegistryLayout { registry: registry.into(), image_path: image_path.into(), image_prefix: image_prefix.into() }
}

#[test]
fn one_image_under_every_layout() {
    let node: Reference = "quay.io/calico/node:v3.32.1".parse().unwrap();
    let digest = Digest::of(b"node");
    for (name, settings, expected) in LAYOUTS {
        let placed = layout(settings).place(&node).unwrap();
        assert_eq!(placed.to_string(), format!("{expected}:v3.32.1"), "{name}");
        // What a pod template has when the set is selected.
        let pinned = layout(settings).place(&node.with_digest(digest)).unwrap();
        assert_eq!(pinned.to_string(), format!("{expected}@{digest}"), "{name}");
        assert_eq!(layout(settings).normalised().place(&node).as_ref(), Ok(&placed), "{name}");
        assert_eq!(placed.to_string().parse().as_ref(), Ok(&placed), "{name}");
    }
}

#[test]
fn every_image_of_every_release_is_placed_as_the_operator_does_it() {
    let mut repositories = BTreeSet::new();
    for release in Catalogue::embedded().releases() {
        let rules = OperatorRules::for_version(&release.to_string()).unwrap();
        let images = Catalogue::embedded().get(&release).unwrap();
        for variant in VARIANTS {
            for (key, default) in images.set_images(variant, false) {
                // Once is enough for each: releases differ in the tag, which no layout looks at.
                if repositories.insert(default.name()) {
                    one_image(&rules, variant, &key, &default);
                }
            }
        }
    }
    assert!(repositories.len() > 150, "only {} repositories", repositories.len());
}

/// Under all layouts.
fn one_image(rules: &OperatorRules, variant: Variant, key: &ImageName, default: &Reference) {
    let double = match variant {
        Variant::Calico => rules::Variant::Calico,
        Variant::Enterprise => rules::Variant::Enterprise,
    };
    // The key in the set is the default one wherever the image is pulled from.
    assert_eq!(default.image_name().as_ref(), Ok::<&ImageName, &_>(key));
    for (layout_name, [registry, image_path, image_prefix], _) in LAYOUTS {
        let double_layout = rules::RegistryLayout {
            registry: registry.into(),
            image_path: image_path.into(),
            image_prefix: image_prefix.into(),
        };
        let placed = layout([registry, image_path, image_prefix]).place(default).unwrap();
        let case = format!("{default}, {layout_name}");
        match rules.rendered_reference(double, key.as_str(), false, &double_layout, None) {
            Some(rendered) => assert_eq!(rendered.parse().as_ref(), Ok(&placed), "{case}"),
            // The double knows the operator's own image as one of Calico's only.
            None => assert_eq!((key.as_str(), variant), ("tigera/operator", Variant::Enterprise), "{case}"),
        }
        assert_eq!(placed.tag(), default.tag(), "{case}");
        assert_eq!(last_segment(&placed), format!("{}{}", prefix(image_prefix), key.image()), "{case}");
    }
}

fn last_segment(reference: &Reference) -> String {
    reference.repository().rsplit('/').next().unwrap_or_default().to_owned()
}

fn prefix(setting: &str) -> &str {
    if setting == "UseDefault" { "" } else { setting }
}
