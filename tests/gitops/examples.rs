//! The examples are whole: Argo CD's configuration has the very check, waves are in order, Flux' dependencies and folders exist, and
//! the policy waits for the version that is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::{CHECK, assert_current, root, text};

const FOLDER: &str = "deploy/gitops";

const CONFIGURATION: &str = "\
# Teaches Argo CD what a healthy ImageSetPolicy is: kubectl -n argocd patch configmap argocd-cm --type merge --patch-file FILE
# Made from health.lua by `UPDATE=1 cargo test --test gitops`; don't edit.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
  resource.customizations.health.imageset-controller.io_ImageSetPolicy: |
";

fn documents(path: &str) -> Vec<Value> {
    imageset_controller::yaml::documents(&text(path)).unwrap()
}

fn word<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

#[test]
fn the_configuration_of_argo_cd_has_this_check() {
    let check = text(&format!("{CHECK}/health.lua"));
    let mut made = CONFIGURATION.to_owned();
    for line in check.lines() {
        writeln!(made, "{}", format!("    {line}").trim_end()).unwrap();
    }
    let path = format!("{FOLDER}/argocd/argocd-cm.yaml");
    assert_current(&path, &made);
    let read = &documents(&path)[0]["data"];
    assert_eq!(word(read, "/resource.customizations.health.imageset-controller.io_ImageSetPolicy"), check);
}

/// The folders of the application, in the order in which they are applied.
fn folders() -> Vec<String> {
    let all = &documents(&format!("{FOLDER}/calico/kustomization.yaml"))[0]["resources"];
    all.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn waves_go_from_the_kinds_to_the_operator() {
    let wave = |folder: &String| -> i64 {
        let kustomization = &documents(&format!("{FOLDER}/calico/{folder}/kustomization.yaml"))[0];
        let patch: Value = imageset_controller::yaml::from_str(word(kustomization, "/patches/0/patch")).unwrap();
        assert_eq!(word(kustomization, "/patches/0/target/kind"), ".*", "{folder}");
        word(&patch["metadata"]["annotations"], "/argocd.argoproj.io~1sync-wave").parse().unwrap()
    };
    assert_eq!(folders(), ["crds", "controller", "policy", "operator"]);
    let waves: Vec<i64> = folders().iter().map(wave).collect();
    assert!(waves.is_sorted_by(|one, next| one < next), "{waves:?}");
    let application = &documents(&format!("{FOLDER}/argocd/application.yaml"))[0];
    assert!(root().join(word(application, "/spec/source/path")).join("kustomization.yaml").is_file());
}

#[test]
fn flux_goes_through_the_same_folders() {
    let all = documents(&format!("{FOLDER}/flux/calico.yaml"));
    let (kustomizations, sources): (Vec<&Value>, Vec<&Value>) =
        all.iter().partition(|one| word(one, "/kind") == "Kustomization");
    assert_eq!(word(sources[0], "/kind"), "GitRepository");
    let mut before: Option<&str> = None;
    let mut went = Vec::new();
    for one in kustomizations {
        let name = word(one, "/metadata/name");
        assert_eq!(word(one, "/spec/sourceRef/name"), word(sources[0], "/metadata/name"));
        // Each names the one before, and each can be waited for.
        assert_eq!(one.pointer("/spec/dependsOn/0/name").and_then(Value::as_str), before, "{name}");
        assert!(one["spec"]["wait"] == true || one["spec"]["healthChecks"].is_array(), "{name}");
        let path = word(one, "/spec/path").trim_start_matches("./");
        assert!(root().join(path).join("kustomization.yaml").is_file(), "{path}");
        went.push(path.rsplit('/').next().unwrap().to_owned());
        before = Some(name);
    }
    assert_eq!(went, folders());
}

#[test]
fn the_policy_prepares_what_is_installed_from_where_it_is_installed() {
    let of = |file: &str| documents(&format!("{FOLDER}/calico/{file}")).remove(0);
    let (policy, operator, installation) =
        (of("policy/policy.yaml"), of("operator/kustomization.yaml"), of("operator/installation.yaml"));
    assert_eq!(word(&policy, "/spec/prepare/versions/0"), word(&operator, "/images/0/newTag"));
    for field in ["variant", "registry", "imagePath"] {
        assert_eq!(policy["spec"]["installation"][field], installation["spec"][field], "{field}");
    }
    // The Calico release of the manifests is that of the operator.
    let release: imageset_controller::model::Release = word(&operator, "/images/0/newTag").parse().unwrap();
    let images = imageset_controller::catalogue::Catalogue::embedded().get(&release).unwrap();
    let calico = images.product_version(imageset_controller::model::Variant::Calico).as_str().to_owned();
    for file in ["crds/kustomization.yaml", "operator/kustomization.yaml"] {
        let fetched = text(&format!("{FOLDER}/calico/{file}"));
        assert!(fetched.contains(&format!("/calico/{calico}/manifests/")), "{file} is not of {calico}");
    }
}

/// Both ways to name a kind in a wave or a check lead to kinds that are there.
#[test]
fn health_checks_name_the_policy() {
    let all = documents(&format!("{FOLDER}/flux/calico.yaml"));
    let checks: BTreeSet<BTreeMap<String, String>> = all
        .iter()
        .filter_map(|one| one["spec"]["healthChecks"].as_array())
        .flatten()
        .map(|check| serde_json::from_value(check.clone()).unwrap())
        .collect();
    let check = checks.first().unwrap();
    let policy = &documents(&format!("{FOLDER}/calico/policy/policy.yaml"))[0];
    assert_eq!(check["apiVersion"], word(policy, "/apiVersion"));
    assert_eq!(check["kind"], word(policy, "/kind"));
    assert_eq!(check["name"], word(policy, "/metadata/name"));
}

/// Sets that are kept in Git: they alone are pruned, they come before the operator, and more than Ready is waited for.
#[test]
fn sets_in_git_are_pruned_alone_and_come_before_the_operator() {
    const SETS: &str = "deploy/gitops/sets-in-git/sets";
    let path = |one: &Value, pointer: &str| word(one, pointer).trim_start_matches("./").to_owned();
    let applications = documents(&format!("{FOLDER}/sets-in-git/argocd/applications.yaml"));
    for one in &applications {
        let path = path(one, "/spec/source/path");
        assert_eq!(one["spec"]["syncPolicy"]["automated"]["prune"], path == SETS, "{path}");
        assert!(path == SETS || root().join(&path).join("kustomization.yaml").is_file(), "{path}");
    }
    let flux = documents(&format!("{FOLDER}/sets-in-git/flux.yaml"));
    for one in &flux {
        let path = path(one, "/spec/path");
        assert_eq!(one["spec"]["prune"], path == SETS, "{path}");
        assert!(path == SETS || root().join(&path).join("kustomization.yaml").is_file(), "{path}");
    }
    // What is named is there: here, or in what stays of the other example.
    let others = documents(&format!("{FOLDER}/flux/calico.yaml"));
    let name = |one: &Value| word(one, "/metadata/name").to_owned();
    let names: BTreeSet<String> = flux.iter().chain(&others).map(name).collect();
    let waits_for = |name: &str| -> Vec<String> {
        let one = flux.iter().find(|one| word(one, "/metadata/name") == name).unwrap();
        let all = one["spec"]["dependsOn"].as_array().unwrap();
        all.iter().map(|one| word(one, "/name").to_owned()).collect()
    };
    for one in &flux {
        assert!(waits_for(word(one, "/metadata/name")).iter().all(|one| names.contains(one)), "{one}");
    }
    assert!(waits_for("imageset-policy").contains(&"calico-sets".to_owned()));
    assert_eq!(waits_for("calico-operator"), ["imageset-policy"]);
    let policy = flux.iter().find(|one| word(one, "/metadata/name") == "imageset-policy").unwrap();
    let current = word(policy, "/spec/healthCheckExprs/0/current");
    for requested in ["'Ready'", "'Applied'", "'Staged'", "metadata.generation"] {
        assert!(current.contains(requested), "{requested} is not asked for");
    }
    let policy = &documents(&format!("{FOLDER}/sets-in-git/policy/policy.yaml"))[0];
    assert_eq!(policy["spec"]["mode"], "Observe");
    // One version in all of it.
    let operator = &documents(&format!("{FOLDER}/calico/operator/kustomization.yaml"))[0];
    let hook = &documents(&format!("{FOLDER}/sets-in-git/argocd/operator/hook.yaml"))[0];
    let version = word(operator, "/images/0/newTag");
    assert_eq!(word(policy, "/spec/prepare/versions/0"), version);
    assert_eq!(word(hook, "/spec/template/spec/containers/0/args/1"), version);
}
