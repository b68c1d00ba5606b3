//! Files that are made of others: the one file to install, and what Helm can only read inside of the chart.

use std::fmt::Write as _;
use std::fs;

use super::objects::documents;
use super::tools::CHART;
use super::{assert_current, root, text};

const HEAD: &str = "\
# All of deploy/base in one file; made from it by `make install-yaml`, don't edit. The image is one that you have pushed:
#
#   sed 's|image: imageset-controller:|image: registry.example.com/imageset-controller:|' deploy/install.yaml |
#     kubectl apply --server-side -f -
#
# The namespace of the operator (tigera-operator) must exist, because one Role lives in it. Before the first install of
# Calico: kubectl create namespace tigera-operator
";

/// The files that a kustomization lists, in its order, with those of folders that it lists.
fn listed(folder: &str) -> Vec<String> {
    let kustomization = documents(&text(&format!("{folder}/kustomization.yaml"))).remove(0);
    let mut files = Vec::new();
    for resource in kustomization["resources"].as_array().unwrap() {
        match resource.as_str().unwrap() {
            "../../crds" => files.extend(listed("crds")),
            file => files.push(format!("{folder}/{file}")),
        }
    }
    files
}

/// With the comments, which kustomize drops: a reviewer needs their reasons.
#[test]
fn the_one_file_is_made_of_the_files_of_base() {
    let mut made = HEAD.to_owned();
    for file in listed("deploy/base") {
        writeln!(made, "---\n{}", text(&file).trim_end()).unwrap();
    }
    assert_current("deploy/install.yaml", &made);
}

#[test]
fn the_chart_has_the_definition_of_the_kind() {
    let definitions = listed("crds");
    assert_eq!(definitions.len(), fs::read_dir(root().join(CHART).join("crds")).unwrap().count());
    for file in definitions {
        assert_current(&format!("{CHART}/{file}"), &text(&file));
    }
}

#[test]
fn the_chart_has_the_rules_and_the_dashboard() {
    for file in ["rules.yaml", "dashboard.json"] {
        assert_current(&format!("{CHART}/files/{file}"), &text(&format!("deploy/monitoring/{file}")));
    }
}
