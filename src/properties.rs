//! Properties that hold for any untrusted bytes: one function for each parser, which panics if a property is violated. The fuzz
//! targets (`fuzz/`) and the test that replays their corpora call them. Compiled for tests and fuzzing only.

use std::collections::BTreeSet;

pub use crate::cluster::properties::{kubelet_words, node_fields, records};
pub use crate::registry::properties::{
    challenge, connect_answer, docker_config, error_body, manifest, rate_headers, tags_page, token_answer,
};

use crate::catalogue::Catalogue;
use crate::inspection::output;
use crate::manifest;
use crate::model::{ImageName, Reference, RegistryLayout, Release};
use crate::registry::properties::looked_up_where_it_says;
use crate::rules::explain::operator_messages::{OperatorMessage, Pull};
use crate::rules::explain::paste::{self, Explanation};

/// A reference reads back as written, is looked up at the host that it names, and is placed as the operator places it. The first
/// line is the reference, the next three are `registry`, `imagePath` and `imagePrefix`.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let parsed: Result<Reference, _> = line().parse();
    let layout =
        RegistryLayout { registry: line().to_owned(), image_path: line().to_owned(), image_prefix: line().to_owned() };
    match parsed {
        Ok(reference) => {
            written_and_read(&reference);
            looked_up_where_it_says(&reference);
            placed(&layout, &reference);
        }
        Err(error) => assert!(error.to_string().len() < 8 * 1024, "an error that grows with the text"),
    }
}

fn written_and_read(reference: &Reference) {
    let text = reference.to_string();
    assert_eq!(text.parse().as_ref(), Ok(reference), "{text}");
    assert!(reference.tag().is_some() || reference.digest().is_some(), "{text} is neither tag nor digest");
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    assert!(text.starts_with(&reference.name()), "{text}");
    if let Ok(name) = reference.image_name() {
        assert!(reference.repository().ends_with(name.as_str()), "{text}: {name}");
    }
}

/// Placing changes an image's place and never its name.
fn placed(layout: &RegistryLayout, default: &Reference) {
    let placed = layout.place(default).ok();
    assert_eq!(layout.normalised().place(default).ok(), placed, "{layout:?} and its one spelling");
    let Some(placed) = placed else { return };
    written_and_read(&placed);
    assert_eq!((placed.tag(), placed.digest()), (default.tag(), default.digest()), "{default} {layout:?}");
    if layout.is_default() {
        assert_eq!(placed, *default);
        return;
    }
    let wanted = by_the_operator(layout, default);
    assert_eq!(wanted.parse().as_ref(), Ok(&placed), "{default} {layout:?}: the operator writes {wanted}");
}

/// Returns the reference that the operator builds (`pkg/components/references.go`: the prefix precedes the last segment, then the path
/// replaces all before the first slash). Slashes at the ends of settings do not count.
fn by_the_operator(layout: &RegistryLayout, default: &Reference) -> String {
    let set = |setting: &'_ str| !setting.is_empty() && setting != "UseDefault";
    let name = default.name();
    let mut segments: Vec<&str> = name.split('/').collect();
    let image = segments.pop().unwrap_or_default();
    // What the operator compiles in as the name is organisation/image; all before it is the registry.
    let organisation = if segments.len() > 1 { segments.pop() } else { None };
    let mut registry = segments.join("/");
    if set(&layout.registry) {
        registry = layout.registry.trim_matches('/').to_owned();
    }
    let prefix = if set(&layout.image_prefix) { &layout.image_prefix } else { "" };
    let image = format!("{prefix}{image}");
    let image = match (organisation, set(&layout.image_path)) {
        (_, true) => format!("{}/{image}", layout.image_path.trim_matches('/')),
        (Some(organisation), false) => format!("{organisation}/{image}"),
        (None, false) => image,
    };
    let tag = default.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = default.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{registry}/{image}{tag}{digest}")
}

/// Everything that is extracted from an operator's message is part of it, printable and bounded; the cause is the same whether the text
/// is the reason or the message. The first line is the reason.
pub fn operator_words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (reason, message) = text.split_once('\n').unwrap_or((text, ""));
    let words = OperatorMessage::of(reason, message);
    assert_eq!(words.cause(), OperatorMessage::of(message, reason).cause());
    let names = words.unexpected.iter().chain(&words.missing).map(ImageName::as_str);
    let pull = |Pull { pods, containers, image }: &Pull| {
        let image = image.iter().map(String::as_str);
        image.chain([pods.as_str()]).chain(containers.split(", ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let pulls: Vec<String> = words.pulls.iter().flat_map(pull).collect();
    let written = words.misspelt.iter().map(|one| &one.written).chain(&words.bad_digests).chain(&pulls);
    let taken = names.chain(words.wanted.as_deref()).chain(written.map(String::as_str));
    let mut length = 0;
    for word in taken {
        assert!(reason.contains(word) || message.contains(word), "{word:?} is not in the text");
        assert!(word.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
        length += word.len();
    }
    assert!(length < 64 * 1024, "what is taken grows with the text");
}

/// Pinning changes one value and no other byte, keeps its quotes, and reads back as written. Errors name a line that the text has.
/// ImageSets and Installations are parsed from the same text.
pub fn operator_manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let rejected = |rejected: &manifest::ManifestError| {
        // Line ends of YAML are those of `lines` and lone carriage returns; the place can be behind the last one.
        let lines = text.split(['\n', '\r']).count();
        assert!(rejected.line <= lines + 1, "line {} of {lines}: {rejected}", rejected.line);
        assert!(rejected.message.len() < 8 * 1024, "an error that grows with the text");
    };
    match manifest::image_sets(text) {
        Ok(sets) => {
            for entry in sets.iter().flat_map(|set| &set.entries) {
                assert!(text.get(entry.place.bytes.clone()).is_some(), "{entry:?} is not in the text");
            }
        }
        Err(error) => rejected(&error),
    }
    if let Err(error) = manifest::installation(text) {
        rejected(&error);
    }
    let found = match manifest::operator_file(text, "tigera-operator") {
        Ok(found) => found,
        Err(error) => return rejected(&error),
    };
    let places = found.places;
    for (position, one) in places.iter().enumerate() {
        let bytes = one.place.bytes.clone();
        assert!(text.get(bytes.clone()).is_some(), "{one:?} is not in the text");
        let has_tag = one.image.parse::<Reference>().is_ok() && one.repository() != one.image;
        if !has_tag {
            continue;
        }
        let pinned = format!("v1.42.4@sha256:{}", "5".repeat(64));
        let changed = match one.pinned(text, &pinned) {
            Ok(changed) => changed,
            Err(error) => return rejected(&error),
        };
        assert_eq!(changed[..bytes.start], text[..bytes.start]);
        assert_eq!(changed[changed.len() - (text.len() - bytes.end)..], text[bytes.end..]);
        let again = manifest::operator_file(&changed, "tigera-operator").map(|found| found.places).unwrap_or_default();
        let read: Vec<&str> = again.iter().map(|place| place.image.as_str()).collect();
        let now = format!("{}:{pinned}", one.repository());
        let mut wanted: Vec<&str> = places.iter().map(|place| place.image.as_str()).collect();
        wanted[position] = &now;
        assert_eq!(read, wanted, "{changed}");
        let twice = again.get(position).map(|place| place.pinned(&changed, &pinned));
        assert_eq!(twice, Some(Ok(changed)), "pinning again changes something");
    }
}

/// What a text means is bounded, can be shown, and is the same whether its lines end with a carriage return.
pub fn pasted_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let objects = crate::yaml::documents(text).unwrap_or_default();
    let explanation = paste::explain(text, &objects);
    let Explanation { problems, healthy } = &explanation;
    assert!(problems.len() <= 64 && healthy.len() <= 64, "what is found grows with the text");
    for problem in problems {
        assert!(problem.names.iter().all(|name| !name.contains('\n')), "{problem:?}");
    }
    let understood = explanation.is_understood();
    let lines = paste::explain(&text.replace('\n', "\r\n"), &objects);
    assert!(text.contains('\r') || lines.is_understood() == understood, "line ends change the meaning");
}

/// Parsed output has every image of the log and no other, whatever is between its lines.
pub fn operator_output(data: &[u8]) {
    let Ok(log) = std::str::from_utf8(data) else { return };
    let read = output::parse(log, log);
    if let Err(error) = &read {
        assert!(error.to_string().len() < 8 * 1024, "an error that grows with the text");
    }
    let Ok(images) = read else { return };
    // What begins with a bracket is a log line; no operator is built for a registry at an IPv6 address.
    let written_out = |line: &&str| {
        !line.starts_with('[') && line.parse::<Reference>().is_ok_and(|reference| reference.to_string() == **line)
    };
    let lines: BTreeSet<&str> = log.lines().map(str::trim).filter(written_out).collect();
    let printed = images.as_printed();
    let lists = [&printed.calico_images, &printed.enterprise_images, &printed.common_images];
    let listed: BTreeSet<String> =
        lists.into_iter().flatten().chain([&printed.own_image]).map(ToString::to_string).collect();
    assert!(lines.iter().copied().eq(listed.iter().map(String::as_str)), "{lines:?} {listed:?}");
    // The tag is the version that the build prints, which of a rebuild is more than that of its release.
    assert_eq!(printed.own_image.tag().map(Release::of_build), Some(Ok(printed.release)));

    let noise =
        "\r\n2026/11/24 02:41:57 [ERROR] Failed to read namespace file: open quay.io/calico/x:v1: no such file\r\n";
    let noisy = log.lines().collect::<Vec<_>>().join(noise) + noise;
    assert_eq!(output::parse(&noisy, &noisy).as_ref().ok(), (noisy.len() <= output::LIMIT).then_some(&images));

    let mut catalogue = Catalogue::default();
    assert!(catalogue.add(&images).is_ok());
    let text = catalogue.to_text();
    let again = Catalogue::parse(&text);
    let again = again.as_ref().map(|catalogue| catalogue.get(&printed.release));
    assert_eq!(again, Ok(Some(images)).as_ref().cloned(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Inputs that fuzzing found, and real data of registries, secrets and operators, are replayed in every run of the tests.
    #[test]
    fn every_corpus_holds_the_properties() {
        type Property = fn(&[u8]);
        let targets: [(&str, Property); 16] = [
            ("challenge", challenge),
            ("connect_answer", connect_answer),
            ("docker_config", docker_config),
            ("error_body", error_body),
            ("kubelet_words", kubelet_words),
            ("manifest", manifest),
            ("node_fields", node_fields),
            ("operator_manifest", operator_manifest),
            ("operator_output", operator_output),
            ("operator_words", operator_words),
            ("pasted_text", pasted_text),
            ("rate_headers", rate_headers),
            ("records", records),
            ("reference", reference),
            ("tags_page", tags_page),
            ("token_answer", token_answer),
        ];
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let fuzzed = fs::read_dir(root.join("fuzz_targets")).unwrap().map(|entry| entry.unwrap().path());
        let fuzzed: BTreeSet<String> =
            fuzzed.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        assert!(fuzzed.iter().map(String::as_str).eq(targets.iter().map(|(name, _)| *name)), "{fuzzed:?}");
        let mut broken = Vec::new();
        for (target, property) in targets {
            let folder = root.join("corpus").join(target);
            let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            assert!(files.len() >= 20, "{target} has {} files only", files.len());
            for file in files {
                let data = fs::read(&file).unwrap();
                if std::panic::catch_unwind(|| property(&data)).is_err() {
                    broken.push(file);
                }
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }
}
