//! The catalogue against the published facts (`tests/facts/operator-images.json`), which the test reads in a simple
//! way of its own; the verbs `images` and `catalogue` as a user runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use imageset_controller::catalogue::Catalogue;
use imageset_controller::inspection::output;
use imageset_controller::model::{ImageName, OperatorImages, Release, Variant};
use serde::Deserialize;

mod adding;
mod layouts;
mod required;
#[allow(dead_code, missing_docs, unused_imports)]
#[path = "../testbox/rules/mod.rs"]
mod rules;
mod words;

const DATA: &str = include_str!("../../data/operator-releases.txt");
const VARIANTS: [Variant; 2] = [Variant::Calico, Variant::Enterprise];

/// One release of the facts file.
#[derive(Deserialize)]
struct Fact {
    calico: String,
    enterprise: String,
    calico_images: Vec<String>,
    common_images: Vec<String>,
    enterprise_images: Vec<String>,
    init_image: Option<String>,
    rejected_in_imageset: Vec<String>,
}

impl Fact {
    /// What `images` has to print.
    ///
    /// Of the images of the other variant's list, it has those that an operator may require beside its own.
    fn mirrored(&self, release: &str, variant: Variant, fips: bool) -> BTreeSet<String> {
        let other = if variant == Variant::Calico { Variant::Enterprise } else { Variant::Calico };
        let names: BTreeSet<String> = required::names_of_other_list(release, variant);
        let more = self.printed(release, other, fips).into_iter().filter(|text| names.contains(key(text)));
        self.printed(release, variant, fips).into_iter().chain(more).collect()
    }

    /// What the list of a variant has.
    fn printed(&self, release: &str, variant: Variant, fips: bool) -> BTreeSet<String> {
        let list = if variant == Variant::Calico { &self.calico_images } else { &self.enterprise_images };
        let own = format!("quay.io/tigera/operator:{release}");
        let all: BTreeSet<&String> = list.iter().chain(&self.common_images).chain([&own]).collect();
        // Nothing is known of a twin but its name and tag: it may be on another registry.
        let twins: BTreeSet<(&str, &str)> =
            all.iter().filter_map(|text| Some((key(text), tag(text).strip_suffix("-fips")?))).collect();
        let wanted = |text: &str| match fips {
            false => !tag(text).ends_with("-fips"),
            true => !twins.contains(&(key(text), tag(text))),
        };
        all.into_iter().filter(|text| wanted(text)).cloned().collect()
    }

    fn set(&self, release: &str, variant: Variant, fips: bool) -> BTreeMap<String, String> {
        let version = if variant == Variant::Calico { &self.calico } else { &self.enterprise };
        let mut set: BTreeMap<String, String> = BTreeMap::new();
        for text in self.printed(release, variant, fips) {
            let name = key(&text).to_owned();
            let is_own = name == "tigera/operator";
            if is_own || self.rejected_in_imageset.contains(&name) || set.contains_key(&name) && tag(&text) != version {
                continue;
            }
            set.insert(name, text);
        }
        set
    }

    fn version_output(&self, release: &str) -> String {
        format!("Operator: {release}\nCalico: {}\nEnterprise: {}\n", self.calico, self.enterprise)
    }

    fn images_output(&self) -> String {
        let lists = [&self.calico_images, &self.enterprise_images, &self.common_images];
        lists.into_iter().flatten().chain(&self.init_image).map(|text| format!("{text}\n")).collect()
    }
}

fn key(text: &str) -> &str {
    let name = text.rsplit_once(':').unwrap().0;
    &name[name.rmatch_indices('/').nth(1).unwrap().0 + 1..]
}

fn tag(text: &str) -> &str {
    text.rsplit_once(':').unwrap().1
}

/// What releases printed that were added since, the very bytes (release/add-operator.sh): version, and both outputs.
fn printed_since() -> BTreeMap<String, (String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts/printed");
    let folders = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    folders.map(|path| (name(&path), (read(path.join("version.txt")), read(path.join("images.txt"))))).collect()
}

fn facts() -> BTreeMap<String, Fact> {
    let facts: BTreeMap<String, Fact> = serde_json::from_str(include_str!("../facts/operator-images.json")).unwrap();
    assert_eq!(facts.len(), 264);
    facts
}

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imageset-controller")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_release_variant_and_mode_is_that_of_the_facts() {
    let facts = facts();
    let catalogue = Catalogue::embedded();
    assert_eq!(
        catalogue.releases().collect::<BTreeSet<_>>(),
        facts.keys().chain(printed_since().keys()).map(|text| release(text)).collect::<BTreeSet<_>>()
    );
    for (text, fact) in &facts {
        let images: OperatorImages = catalogue.get(&release(text)).unwrap();
        assert_eq!(images.product_version(Variant::Calico).as_str(), fact.calico);
        assert_eq!(images.product_version(Variant::Enterprise).as_str(), fact.enterprise);
        for variant in VARIANTS {
            for fips in [false, true] {
                let printed: Vec<String> = images.printed(variant, fips).iter().map(ToString::to_string).collect();
                let expected: Vec<String> = fact.printed(text, variant, fips).into_iter().collect();
                assert_eq!(printed, expected, "{text} {variant} fips {fips}");
                let set = images.set_images(variant, fips);
                let set: BTreeMap<String, String> =
                    set.iter().map(|(name, reference)| (name.to_string(), reference.to_string())).collect();
                assert_eq!(set, fact.set(text, variant, fips), "{text} {variant} fips {fips}");
            }
        }
        let lists = [&fact.calico_images, &fact.enterprise_images, &fact.common_images];
        let known: BTreeSet<String> = lists
            .into_iter()
            .flatten()
            .chain(&fact.init_image)
            .map(|text| key(text).to_owned())
            .filter(|name| !fact.rejected_in_imageset.contains(name))
            .collect();
        assert_eq!(images.known_names().iter().map(ToString::to_string).collect::<BTreeSet<_>>(), known, "{text}");
        let markers: Vec<Variant> =
            VARIANTS.into_iter().filter(|variant| images.image_set_name(*variant).is_err()).collect();
        assert_eq!(markers.contains(&Variant::Calico), text == "v1.41.0", "{text}");
    }
}

#[test]
fn the_printed_list_of_every_release_is_taken_apart_as_the_facts_have_it() {
    let texts = |texts: &[String]| texts.iter().cloned().collect::<BTreeSet<String>>();
    for (text, fact) in &facts() {
        let images = output::parse(&fact.version_output(text), &fact.images_output()).unwrap();
        let printed = images.as_printed();
        let mut calico = printed.calico_images.clone();
        if fact.init_image.is_none() {
            calico.insert(printed.own_image.clone());
        }
        let strings =
            |references: &BTreeSet<_>| references.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
        assert_eq!(strings(&calico), texts(&fact.calico_images), "{text}");
        assert_eq!(strings(&printed.enterprise_images), texts(&fact.enterprise_images), "{text}");
        assert_eq!(strings(&printed.common_images), texts(&fact.common_images), "{text}");
        let rejected: BTreeSet<String> = printed.rejected.iter().map(ImageName::to_string).collect();
        assert_eq!(rejected, texts(&fact.rejected_in_imageset), "{text}");
        assert_eq!(Catalogue::embedded().get(&release(text)).unwrap(), images, "{text}");
    }
}

#[test]
fn the_data_is_what_adding_every_release_to_an_empty_file_makes() {
    let mut catalogue = Catalogue::default();
    // In the order of texts, which is not that of versions.
    for (text, fact) in &facts() {
        catalogue.add(&output::parse(&fact.version_output(text), &fact.images_output()).unwrap()).unwrap();
    }
    for (version, images) in printed_since().values() {
        catalogue.add(&output::parse(version, images).unwrap()).unwrap();
    }
    assert_eq!(catalogue.to_text(), DATA);
}

#[test]
fn images_prints_the_references_and_nothing_else() {
    let facts = facts();
    for version in ["v1.14.0", "v1.27.17", "v1.30.4", "v1.35.3", "v1.41.0", "v1.42.4", "v1.43.0"] {
        for (variant, fips) in [(Variant::Calico, false), (Variant::Calico, true), (Variant::Enterprise, false)] {
            let variant_text = variant.to_string();
            let mut arguments = vec!["images", version, "--variant", &variant_text];
            arguments.extend(fips.then_some("--fips"));
            let ran = run(&arguments);
            let expected: String =
                facts[version].mirrored(version, variant, fips).iter().map(|text| format!("{text}\n")).collect();
            assert_eq!((text(&ran.stdout), text(&ran.stderr)), (expected, String::new()), "{arguments:?}");
            assert!(ran.status.success());
        }
    }
}

#[test]
fn an_unknown_release_is_an_error_with_a_next_step_and_no_answer() {
    for version in ["v1.99.0", "v1.38.2-1"] {
        let ran = run(&["images", "v1.42.4", version]);
        assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(2), String::new()));
        let complaint = text(&ran.stderr);
        let newest = Catalogue::embedded().newest().unwrap().to_string();
        for part in ["error: ", version, "(OperatorVersionUnknown)", &newest, "\nhint: ", "--inspect", "--version-file"]
        {
            assert!(complaint.contains(part), "{part} in {complaint}");
        }
    }
    let ran = run(&["images", "latest"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(text(&ran.stderr).contains("not a released operator version"), "{}", text(&ran.stderr));
}

#[test]
fn list_shows_every_release() {
    let ran = run(&["catalogue", "list"]);
    let table = text(&ran.stdout);
    assert_eq!(table.lines().count(), 1 + facts().len() + printed_since().len());
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["OPERATOR", "CALICO", "ENTERPRISE"]);
    assert!(rows.contains(&vec!["v1.43.0", "v3.32.0", "v3.24.0-1.0"]));
    assert_eq!(rows.last().unwrap()[0], Catalogue::embedded().newest().unwrap().to_string());
}

/// Runs `catalogue add` in a folder that has the data file `data`, and gives back what it is afterwards.
fn add(data: &str, version: &str, images: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let data_file = file("operator-releases.txt", data);
    let (version, images) = (file("version.txt", version), file("images.txt", images));
    let data_folder = folder.path().to_str().unwrap();
    let ran = run(&["catalogue", "add", "--version-file", &version, "--images-file", &images, "--data", data_folder]);
    assert!(!Path::new(&format!("{data_file}.new")).exists());
    (ran, std::fs::read_to_string(data_file).unwrap())
}

#[test]
fn adding_a_release_that_was_taken_out_gives_the_committed_file() {
    let facts = facts();
    for text in ["v1.14.0", "v1.29.5", "v1.32.0", "v1.36.0", "v1.42.2", "v1.43.0"] {
        let without = Catalogue::parse(DATA).unwrap().without(&release(text)).to_text();
        assert_ne!(without, DATA);
        let (ran, data) = add(&without, &facts[text].version_output(text), &facts[text].images_output());
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(data, DATA, "{text}");
    }
}

#[test]
fn adding_what_is_known_changes_nothing_or_is_refused() {
    let fact = &facts()["v1.42.4"];
    let (version, images) = (fact.version_output("v1.42.4"), fact.images_output());
    let (ran, data) = add(DATA, &version, &images);
    assert!(ran.status.success() && data == DATA);

    let (ran, data) = add(DATA, &version, &images.replace("quay.io/calico/typha:v3.32.1\n", ""));
    assert_eq!((ran.status.code(), data.as_str()), (Some(2), DATA));
    let complaint = text(&ran.stderr);
    for part in ["operator v1.42.4 is in the catalogue already", "- calico calico/typha", "\nhint: "] {
        assert!(complaint.contains(part), "{part} in {complaint}");
    }

    // A rebuild may have other images than its release.
    let [version_of_rebuild, images_of_rebuild] =
        [&version, &images].map(|text| text.replace("v1.42.4", "v1.42.4-0-g91d909b"));
    let (ran, data) = add(DATA, &version_of_rebuild, &images_of_rebuild);
    assert_eq!((ran.status.code(), data.as_str()), (Some(2), DATA));
    assert!(text(&ran.stderr).contains("is a rebuild of v1.42.4"), "{}", text(&ran.stderr));

    let (ran, data) = add(DATA, &version.replace("v1.42.4", "v1.42.5"), &images);
    assert_eq!((ran.status.code(), data.as_str()), (Some(2), DATA));
    assert!(text(&ran.stderr).contains("quay.io/tigera/operator:v1.42.4"));
}
