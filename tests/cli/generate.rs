//! `generate` against real registries. Every set that comes out is judged by the operator's own rules, from the published
//! facts.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::testbox::images::{self, INDEX_TYPE, Image, LINUX_PLATFORMS, MANIFEST_TYPE};
use crate::testbox::registry_client::digest_of;
use crate::testbox::rules::{Entry, Features, OperatorRules, Variant, all_versions, key, strict_problems};
use crate::testbox::{Access, Kind, Registry};
use crate::{adopted, assert_contains, command, outcome, run};

/// Name, operator version and entries of a set.
pub type Made = (String, String, Vec<Entry>);

/// The sets of YAML text.
pub fn sets(yaml: &str) -> Vec<Made> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let one = |object: Value| {
        assert_eq!((&object["apiVersion"], &object["kind"]), (&json!("operator.tigera.io/v1"), &json!("ImageSet")));
        assert!(object["metadata"]["labels"].is_null(), "a file's set must not carry the controller's label");
        let images = object["spec"]["images"].as_array().unwrap();
        let entries = images.iter().map(|entry| (text(&entry["image"]), text(&entry["digest"]))).collect();
        let annotations = &object["metadata"]["annotations"];
        let version = text(&annotations["imageset-controller.io/operator-version"]);
        (text(&object["metadata"]["name"]), version, entries)
    };
    let documents: Vec<Value> = imageset_controller::yaml::documents(yaml).unwrap();
    documents.into_iter().map(one).collect()
}

fn assert_valid(version: &str, variant: Variant, entries: &[Entry]) {
    let problems = strict_problems(version, variant, entries, Features::none());
    assert!(problems.is_empty(), "operator {version} would refuse it: {problems:?}");
}

pub fn calico_references(version: &str) -> Vec<String> {
    OperatorRules::for_version(version).unwrap().calico_references()
}

/// Every image of every release under its key, with one pair of platform images per repository and an index of its own per tag: what
/// [`images::push_release`] does for a release would take minutes for all of them.
async fn push_everything(access: &Access, references: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut repositories: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for reference in references {
        let (_, tag) = images::repository_and_tag(reference);
        repositories.entry(key(reference)).or_default().insert(tag);
    }
    let push = |(repository, tags): (String, BTreeSet<String>)| async move {
        let image = Image::index(&repository, LINUX_PLATFORMS)?;
        images::push(access, &repository, "children", &image).await?;
        let index: Value = serde_json::from_slice(&image.content())?;
        let mut digests = Vec::new();
        for tag in tags {
            let mut index = index.clone();
            index["annotations"] = json!({ "tag": tag });
            let content = Bytes::from(index.to_string());
            access.push_manifest(&repository, &tag, INDEX_TYPE, &content).await?;
            digests.push((format!("{repository}:{tag}"), digest_of(&content)));
        }
        anyhow::Ok(digests)
    };
    let pushes: Vec<_> = repositories.into_iter().map(push).collect();
    let digests: Vec<Vec<(String, String)>> =
        futures::stream::iter(pushes).buffer_unordered(8).try_collect().await.unwrap();
    digests.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sets_of_all_releases_are_what_their_operators_want_and_take() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let releases: Vec<String> =
        all_versions().iter().map(ToString::to_string).filter(|text| text != "v1.41.0").collect();
    assert_eq!(releases.len(), 263);
    let references: BTreeSet<String> = releases.iter().flat_map(|release| calico_references(release)).collect();
    let digests = push_everything(&registry.access().unwrap(), &references).await;

    // Each name once in a file, as in a cluster.
    let host = registry.host();
    let at = ["--registry", &host, "--plain-http", &host];
    let mut left = releases.clone();
    let mut made = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let mut in_sync = 0;
    while !left.is_empty() {
        let mut names = BTreeSet::new();
        let name_of = |release: &str| OperatorRules::for_version(release).unwrap().expected_set_name(Variant::Calico);
        let (now, later): (Vec<String>, Vec<String>) =
            left.into_iter().partition(|release| names.insert(name_of(release)));
        left = later;
        let arguments: Vec<&str> = ["generate"].into_iter().chain(at).chain(now.iter().map(String::as_str)).collect();
        let (code, stdout, stderr) = outcome(&run(&arguments));
        assert_eq!((code, stderr.as_str()), (0, ""));
        let sets = sets(&stdout);
        assert_eq!(sets.iter().map(|(_, version, _)| version.clone()).collect::<Vec<_>>(), now);
        made.extend(sets);

        // The registry and the rules agree with all of them.
        let file = folder.path().join("imagesets.yaml");
        std::fs::write(&file, &stdout).unwrap();
        let verified = outcome(&run(&[&["verify", file.to_str().unwrap()], &at[..]].concat()));
        assert_eq!((verified.0, verified.1.lines().count()), (0, now.len()), "{}", verified.1);
        in_sync += now.len();

        // Again, the same bytes.
        assert_eq!(outcome(&run(&arguments)).1, stdout);
    }
    assert_eq!(in_sync, 263);
    for (name, version, entries) in &made {
        let rules = OperatorRules::for_version(version).unwrap();
        assert_eq!(*name, rules.expected_set_name(Variant::Calico));
        assert_valid(version, Variant::Calico, entries);
        // Exactly the names that this operator takes, each with the digest of its own tag.
        let names: BTreeSet<String> = entries.iter().map(|(image, _)| image.clone()).collect();
        assert_eq!(names, rules.names_of(Variant::Calico), "{version}");
        for (image, digest) in entries {
            let reference = rules.default_reference(Variant::Calico, image, false).unwrap();
            let (_, tag) = images::repository_and_tag(&reference);
            assert_eq!(*digest, digests[&format!("{image}:{tag}")], "{version} {image}");
        }
    }

    // And so do the operators, as they run.
    adopted::by_every_operator(&made).await;
}

fn token() -> Kind {
    Kind::Token { user: "puller".to_owned(), password: "planted-canary".to_owned(), anonymous_pull: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_registry_with_a_layout_a_private_authority_and_credentials() {
    let registry = Registry::start_tls(token()).await.unwrap();
    let place = |reference: &str| {
        let (repository, _) = images::repository_and_tag(reference);
        format!("mirrors/calico/our-{}", repository.rsplit('/').next().unwrap())
    };
    let references = calico_references("v1.42.4");
    let digests = images::push_release(&registry.access().unwrap(), &references, Some(&place)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (docker, authority) =
        (file("config.json", &registry.docker_config_json()), file("ca.pem", registry.ca_pem().unwrap()));
    let host = registry.host();
    let placed = ["--registry", &host, "--image-path", "mirrors/calico", "--image-prefix", "our-"];
    let all = |more: &[&str]| outcome(&run(&[&["generate", "v1.42.4"], &placed[..], more].concat()));

    let (code, stdout, stderr) = all(&["--ca-file", &authority, "--registry-config", &docker]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(
        &stdout,
        &["# Digests for tigera-operator v1.42.4, 23 images from", "--image-prefix our-", "apiVersion:"],
    );
    let made = sets(&stdout);
    assert_eq!(made[0].0, "calico-v3.32.1");
    assert_valid("v1.42.4", Variant::Calico, &made[0].2);
    assert_eq!(made[0].2.iter().map(|(_, digest)| digest).collect::<BTreeSet<_>>(), digests.values().collect());

    // Docker's own place for the file, and JSON.
    let mut with_docker =
        command(&[&["generate", "v1.42.4", "-o", "json", "--ca-file", &authority], &placed[..]].concat());
    let (code, json, _) = outcome(&with_docker.env("DOCKER_CONFIG", folder.path()).output().unwrap());
    let object: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, object["spec"]["images"].as_array().unwrap().len()), (0, 23));

    // Podman's file, and the text that CI systems hand over.
    let arguments = [&["generate", "v1.42.4", "--ca-file", &authority], &placed[..]].concat();
    let text = registry.docker_config_json();
    for (variable, value) in [("REGISTRY_AUTH_FILE", docker.as_str()), ("DOCKER_AUTH_CONFIG", text.as_str())] {
        let output = command(&arguments).env(variable, value).output().unwrap();
        assert_eq!(outcome(&output).0, 0, "{variable}: {output:?}");
        let output = command(&arguments).env(variable, "/nowhere/planted-canary").output().unwrap();
        let (code, _, stderr) = outcome(&output);
        assert_eq!(code, 2, "{variable}");
        assert!(stderr.contains(variable), "{stderr}");
    }

    let (code, stdout, stderr) = all(&["--ca-file", &authority]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(&stderr, &["error: registry", &host, "(RegistryUnauthorized)", "\nhint: ", "--registry-config"]);

    let (code, _, stderr) = all(&["--registry-config", &docker]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: registry", &host, "(RegistryCertificateInvalid)", "\nhint: ", "--ca-file"]);
    assert_eq!(stderr.matches("error:").count(), 1, "23 images on one registry are one failure:\n{stderr}");

    let broken = file("broken.json", r#"{"auths": {"x": {"auth": "planted-canary"}}}"#);
    let (code, _, stderr) = all(&["--registry-config", &broken]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: ", "broken.json", "(PullSecretInvalid)"]);
    assert!(!stderr.contains("planted-canary"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_lacks_holds_the_whole_set_and_names_the_image() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let access = registry.access().unwrap();
    let references = calico_references("v1.40.15");
    let without: Vec<&String> = references.iter().filter(|reference| !reference.contains("/whisker")).collect();
    images::push_release(&access, &without, None).await.unwrap();
    let host = registry.host();
    let base = ["generate", "v1.40.15", "--registry", &host, "--plain-http", &host];

    let (code, stdout, stderr) = outcome(&run(&base));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(
        &stderr,
        &["error: ImageSet calico-v3.31.7", "calico/whisker:v3.31.7", "(ImageMissing)", "--exclude NAME"],
    );

    let excluding = [&base[..], &["--exclude", "calico/whisker", "--exclude", "calico/whisker-backend"]].concat();
    let (code, stdout, _) = outcome(&run(&excluding));
    let made = sets(&stdout);
    assert_eq!((code, made[0].2.len()), (0, references.len() - 2));
    assert_valid("v1.40.15", Variant::Calico, &made[0].2);

    let (code, _, stderr) = outcome(&run(&[&base[..], &["--exclude", "calico/node"]].concat()));
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["calico/node is excluded, but operator v1.40.15 insists on it", "(ExcludedImageRequired)"],
    );

    // One image of one platform only.
    let node = Image::single("node for amd64 only", ("linux", "amd64", None)).unwrap();
    images::push(&access, "calico/node", "v3.31.7", &node).await.unwrap();
    let (code, _, stderr) = outcome(&run(&[&excluding[..], &["--platform", "linux/arm64"]].concat()));
    assert_eq!(code, 2);
    assert_contains(&stderr, &["calico/node:v3.31.7 has no manifest for linux/arm64", "(PlatformMissing)", "hint: "]);
    let (code, stdout, _) = outcome(&run(&[&excluding[..], &["--platform", "linux/amd64"]].concat()));
    assert_eq!(code, 0);
    assert!(sets(&stdout)[0].2.contains(&("calico/node".to_owned(), node.digest())));
    assert_eq!(node.media_type(), MANIFEST_TYPE);
}

#[tokio::test(flavor = "multi_thread")]
async fn fips_and_enterprise_pin_the_image_that_is_really_pulled() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let access = registry.access().unwrap();
    let host = registry.host();
    for (version, variant, flags, fips) in [
        ("v1.42.4", Variant::Calico, &["--fips"][..], true),
        // Two tags for one name: the Enterprise release's is pulled.
        ("v1.27.17", Variant::Enterprise, &["--variant", "Enterprise"][..], false),
    ] {
        let rules = OperatorRules::for_version(version).unwrap();
        let all: BTreeSet<String> = rules.printed_references().map(str::to_owned).collect();
        let all: Vec<String> = all.into_iter().collect();
        let digests = images::push_release(&access, &all, Some(&key)).await.unwrap();
        let base = ["generate", version, "--registry", &host, "--plain-http", &host];
        let (code, stdout, stderr) = outcome(&run(&[&base[..], flags].concat()));
        assert_eq!((code, stderr.as_str()), (0, ""), "{version}");
        let (name, _, entries) = sets(&stdout).remove(0);
        assert_eq!(name, rules.expected_set_name(variant));
        assert_valid(version, variant, &entries);
        for (image, digest) in entries {
            let reference = rules.default_reference(variant, &image, fips);
            // Up to v1.35 the operator takes its own image, too, which is in Calico's list for both variants.
            let reference = reference.or(rules.default_reference(Variant::Calico, &image, fips)).unwrap();
            assert_eq!(digest, digests[&reference], "{version} {image}");
        }
    }
}

#[test]
fn what_no_registry_can_help_is_said_before_any_is_asked() {
    let (code, stdout, stderr) = outcome(&run(&["generate", "v1.41.0"]));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(
        &stderr,
        &["error: operator v1.41.0", "pre-release marker master", "(PreReleaseMarker)", "\nhint: "],
    );
    let (code, _, stderr) = outcome(&run(&["generate", "v1.42.4", "v1.99.0"]));
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["error: this build's catalogue does not have operator v1.99.0", "(OperatorVersionUnknown)", "\nhint: "],
    );
    let (code, _, stderr) = outcome(&run(&["generate", "v1.42.4", "--registry", "https://registry.example"]));
    assert_eq!(code, 2);
    assert_contains(&stderr, &["(LayoutInvalid)", "hint: ", "without scheme"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_git_is_checked_entry_by_entry_and_what_people_add_is_theirs() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let access = registry.access().unwrap();
    let digests = images::push_release(&access, &calico_references("v1.40.15"), None).await.unwrap();
    let host = registry.host();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imageset.yaml");
    let file = path.to_str().unwrap();
    let base = ["generate", "v1.40.15", "--registry", &host, "--plain-http", &host];
    let (_, yaml, _) = outcome(&run(&base));
    let checked = |text: &str| {
        std::fs::write(&path, text).unwrap();
        outcome(&run(&[&base[..], &["--check", file]].concat()))
    };
    let (code, stdout, stderr) = checked(&yaml);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert_contains(&stdout, &["imageset.yaml: the set is as it should be"]);
    let with_labels = yaml.replace("metadata:\n", "metadata:\n  labels: {team: platform} # ours\n");
    assert_eq!(checked(&with_labels).0, 0);

    let digest = &digests["quay.io/calico/csi:v3.31.7"];
    let (code, stdout, _) = checked(&yaml.replace(digest, &format!("sha256:{}", "0".repeat(64))));
    assert_eq!(code, 1);
    assert_contains(&stdout, &["ImageSet calico-v3.31.7 for operator v1.40.15 differs in 1 of 18 entries"]);
    assert_contains(&stdout, &["calico/csi: sha256:000000000000 → ", &digest[..19]]);
    let (code, stdout, _) = checked(&yaml.replace("name: calico-v3.31.7", "name: calico-v3.31.6"));
    assert_eq!(code, 1);
    assert_contains(&stdout, &["calico-v3.31.7 for operator v1.40.15 is missing", "calico-v3.31.6 is of no version"]);
    // For another operator, and an entry twice: the operator would take the first, and a reader the last.
    let (code, stdout, _) = checked(&yaml.replace("operator-version: v1.40.15", "operator-version: v1.25.7"));
    assert_eq!(code, 1);
    assert_contains(&stdout, &["for operator v1.40.15 says that it was made for v1.25.7"]);
    let (code, stdout, _) = checked(&format!("{yaml}  - image: calico/csi\n    digest: {digest}\n"));
    assert_eq!(code, 1);
    assert_contains(&stdout, &["calico/csi is listed twice"]);
    let (code, stdout, _) = checked(&format!("{yaml}---\n{yaml}"));
    assert_eq!(code, 1);
    assert_contains(&stdout, &["calico-v3.31.7 is there twice"]);
    let (code, _, stderr) = checked("a: [\n");
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: ", "imageset.yaml:1:4: this is no YAML: unclosed bracket"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_prints_of_itself_and_what_it_insists_on_make_a_set() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    images::push_release(&registry.access().unwrap(), &calico_references("v1.42.4"), None).await.unwrap();
    let host = registry.host();
    let folder = tempfile::tempdir().unwrap();
    let rules = OperatorRules::for_version("v1.42.4").unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let printed: Vec<&str> = rules.printed_references().collect();
    // A build that no catalogue knows.
    let version = rules.printed_version().replace("v1.42.4", "v1.42.99");
    let version = file("version.txt", &version);
    let list = file("images.txt", &(printed.join("\n").replace("operator:v1.42.4", "operator:v1.42.99") + "\n"));
    let from = ["generate", "--version-file", &version, "--images-file", &list];
    let at = ["--registry", &host, "--plain-http", &host];
    let (code, stdout, stderr) = outcome(&run(&[&from[..], &at].concat()));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let (name, operator, entries) = sets(&stdout).remove(0);
    assert_eq!((name.as_str(), operator.as_str(), entries.len()), ("calico-v3.32.1", "v1.42.99", 23));
    assert_contains(&stdout, &["--version-file", "version.txt --images-file", "images.txt"]);
    let cut = file("cut.txt", &printed[..5].join("\n"));
    let (code, _, stderr) = outcome(&run(&["generate", "--version-file", &version, "--images-file", &cut]));
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: the output of --print-images=list does not have", "hint: "]);

    for (with, features) in [
        (&[][..], Features::none()),
        (&["--with", "GatewayAPI"][..], Features { gateway_api: true, ..Features::none() }),
    ] {
        let (code, stdout, stderr) = outcome(&run(&[&["generate", "v1.42.4", "--only-required"], with, &at].concat()));
        assert_eq!((code, stderr.as_str()), (0, ""));
        let entries = sets(&stdout).remove(0).2;
        assert!(entries.len() < 23, "{entries:?}");
        let problems = strict_problems("v1.42.4", Variant::Calico, &entries, features);
        assert!(problems.is_empty(), "{problems:?}");
        let has = entries.iter().any(|(image, _)| image == "calico/envoy-proxy");
        assert_eq!(has, !with.is_empty());
    }
}

/// A manifest with this operator image, and whatever stands beside it.
pub fn manifest(image: &str, beside: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: tigera-operator}}\nspec:\n  template:\n    spec:\n      containers:\n      \
         - name: tigera-operator\n        image: {image}\n---\n{beside}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_files_say_counts_and_what_they_do_not_say_plainly_is_refused() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let access = registry.access().unwrap();
    images::push_release(&access, &calico_references("v1.42.4"), None).await.unwrap();
    let operator = Image::of_reference("quay.io/tigera/operator:v1.42.4").unwrap();
    let digest = images::push(&access, "tigera/operator", "v1.42.4", &operator).await.unwrap();
    let host = registry.host();
    let folder = tempfile::tempdir().unwrap();
    let generate = |name: &str, text: &str, more: &[&str]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let base = ["generate", "--plain-http", &host, "-f", path.to_str().unwrap()];
        outcome(&run(&[&base, more].concat()))
    };
    let installation = |spec: &str| {
        format!("apiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {{name: default}}\nspec: {spec}\n")
    };
    let here = installation(&format!("{{registry: {host}/}}"));
    let image = format!("{host}/tigera/operator:v1.42.4");

    // What the file has beside the Installation is insisted on.
    let server = "---\napiVersion: operator.tigera.io/v1\nkind: APIServer\nmetadata: {name: default}\n";
    let (code, stdout, stderr) =
        generate("all.yaml", &manifest(&image, &format!("{here}{server}")), &["--only-required"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(&stdout, &["--with APIServer", "- image: calico/apiserver"]);

    // An alias is not the same as nothing.
    for (spec, place) in [
        (format!("{{registry: {host}/, fipsMode: *mode}}"), "fips.yaml:15:"),
        ("{registry: *mode}".to_owned(), "fips.yaml:15:"),
        ("{variant: *mode}".to_owned(), "fips.yaml:15:"),
        ("{<<: *mode}".to_owned(), "fips.yaml:15:"),
    ] {
        let text = manifest(&image, &format!("a: &mode {{registry: a.example}}\n{}", installation(&spec)));
        let (code, stdout, stderr) = generate("fips.yaml", &text, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{spec}");
        assert_contains(&stderr, &["error: ", place]);
        assert!(stderr.contains("alias") || stderr.contains("merge key"), "{stderr}");
    }
    let (code, _, stderr) = generate("two.yaml", &manifest(&image, &format!("{here}---\n{here}")), &[]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["a second Installation default"]);

    // A digest decides what runs; the tag beside it is a decoration.
    let by_digest = format!("{image}@{digest}");
    assert_eq!(generate("pinned.yaml", &manifest(&by_digest, &here), &[]).0, 0);
    let (code, stdout, _) = generate("bare.yaml", &manifest(&format!("{host}/tigera/operator@{digest}"), &here), &[]);
    assert_eq!(code, 0);
    assert_contains(&stdout, &["tigera-operator v1.42.4"]);
    let stale = by_digest.replace("v1.42.4", "v1.40.15");
    let (code, stdout, stderr) = generate("stale.yaml", &manifest(&stale, &here), &[]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(&stderr, &["is tagged v1.40.15, and its digest is labelled v1.42.4", "(OperatorVersionAmbiguous)"]);
    let nowhere = format!("{image}@sha256:{}", "0".repeat(64));
    let (code, _, stderr) = generate("nowhere.yaml", &manifest(&nowhere, &here), &[]);
    assert_eq!(code, 0);
    assert_contains(&stderr, &["warning: ", "the version is that of the tag; the digest's own is not known"]);

    // The name of a file stays in its comment.
    let (code, stdout, _) = generate("a\nevil: true #.yaml", &manifest(&image, &here), &[]);
    assert_eq!(code, 0);
    assert!(stdout.lines().all(|line| !line.starts_with("evil")), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_that_look_for_one_name_make_one_object_or_none() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let access = registry.access().unwrap();
    let releases = ["v1.38.1", "v1.38.2", "v1.30.4", "v1.32.0"];
    let references: BTreeSet<String> = releases.iter().flat_map(|release| calico_references(release)).collect();
    push_everything(&access, &references).await;
    let host = registry.host();
    let at = ["--registry", &host, "--plain-http", &host];
    let same = [&["generate", "v1.38.1", "v1.38.2"], &at[..]].concat();
    let (code, stdout, stderr) = outcome(&run(&same));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let made = sets(&stdout);
    assert_eq!(
        made.iter().map(|(name, version, _)| (name.as_str(), version.as_str())).collect::<Vec<_>>(),
        [("calico-v3.30.1", "v1.38.2")]
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sets.yaml");
    std::fs::write(&path, &stdout).unwrap();
    assert_eq!(outcome(&run(&[&same[..], &["--check", path.to_str().unwrap()]].concat())).0, 0);

    let (code, stdout, stderr) = outcome(&run(&[&["generate", "v1.30.4", "v1.32.0"], &at[..]].concat()));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(
        &stderr,
        &["operators v1.30.4 and v1.32.0 both look for calico-v3.26.1", "(SameNameConflict)", "hint: "],
    );
}
