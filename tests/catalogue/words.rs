//! What operators and kubelets say, by the tables of `tests/facts`: each message is understood as the cause that its table names.

use std::collections::{BTreeMap, BTreeSet};

use imageset_controller::model::{ImageName, PullFailureKind, Reason};
use imageset_controller::rules::explain::kubelet_messages::classify;
use imageset_controller::rules::explain::operator_messages::OperatorMessage;
use serde_json::{Map, Value};

use super::release;

const SET: &str = "calico-v3.32.1";
const IMAGE: &str = "quay.io/calico/cni@sha256:e684c5ccef0e2de6e758e01576ae3eb2add65aa7b63e916c5e475c09c4db3c94";

/// The situations with the ranges of releases that say the same.
fn operator_words() -> Map<String, Value> {
    serde_json::from_str(include_str!("../facts/operator-words.json")).unwrap()
}

/// What a situation is to be understood as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Situation {
    NoSet,
    Missing,
    Unexpected,
    BadDigest,
    CannotPull,
    /// Nothing that an image or a set is the cause of.
    Other,
    /// Not a message of Degraded.
    Silent,
}

/// A situation that is not in here fails the test: somebody has to say what it means.
fn situation(key: &str) -> Situation {
    let (of, what) = key.split_once(": ").unwrap_or(("", key));
    match (of, what) {
        ("fact", "Installation.spec.fipsMode Enabled") => Situation::Other,
        ("fact", _) => Situation::Silent,
        (_, "no set" | "no set, with certificateManagement") => Situation::NoSet,
        (_, what) if what.starts_with("missing ") => Situation::Missing,
        (_, "unexpected images") => Situation::Unexpected,
        (_, "bad digest") => Situation::BadDigest,
        ("", "pod cannot pull") => Situation::CannotPull,
        ("", "pod crash loops" | "pod terminated" | "pod failed" | "pod not ready" | "pod pending") => Situation::Other,
        (
            "",
            "condition Available" | "condition Progressing" | "message when a controller degrades without an error",
        ) => Situation::Silent,
        _ => panic!("{key}: what is it to be understood as?"),
    }
}

/// A template with its placeholders filled in, once for each optional end.
fn filled(template: &str, image: &str) -> Vec<String> {
    let (base, ends) = match template.split_once('[') {
        Some((base, ends)) => (base, ends.trim_end_matches(']').split('|').collect()),
        None => (template, Vec::new()),
    };
    let fill = |end: &str| {
        [
            ("ImageSet did not contain image {image}, …", "ImageSet did not contain image {image}, ImageSet did not contain image calico/x,ImageSet did not contain image calico/y"),
            ("{image}@{digest}, …", "{image}@md5:53, calico/x@a"),
            ("{image}@{digest}, {image}@{digest}", "{image}@md5:53, calico/x@a"),
            ("{image}, …", "{image}, calico/x"),
            ("{image}, {image}", "{image}, calico/x"),
            ("\"{image}\"", &format!("\"{IMAGE}\"")),
            ("{image}", image),
            ("{digest}", "md5:53"),
            ("{set}", SET),
            ("{namespace}/{pod}", "calico-system/calico-node-7dv74"),
            ("{container}", "install-cni"),
            ("{last reason}", "Error"),
            ("{n}", "1"),
            ("{why it is not scheduled}", "0/3 nodes are available: 3 Insufficient cpu"),
        ]
        .iter()
        .fold(format!("{base}{end}"), |text, (placeholder, value)| text.replace(placeholder, value))
    };
    let all: Vec<String> = [""].into_iter().chain(ends).map(fill).collect();
    for text in &all {
        assert!(!text.contains(['{', '[', '…']), "{text}");
    }
    all
}

fn names(names: &[&str]) -> BTreeSet<ImageName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Whether a condition with this reason and message is understood as the situation.
fn check(situation: Situation, reason: &str, message: &str, image: &str, at: &str) {
    let words = OperatorMessage::of(reason, message);
    let cause = words.cause();
    let at = format!("{at}: {reason}: {message}: {words:?}");
    match situation {
        Situation::NoSet => {
            assert_eq!((words.wanted.as_deref(), cause), (Some(SET), Reason::ExactImageSetMissing), "{at}");
        }
        Situation::Missing => {
            let all =
                if message.contains("calico/x") { names(&[image, "calico/x", "calico/y"]) } else { names(&[image]) };
            assert_eq!((&words.missing, cause), (&all, Reason::ImagesNotListed), "{at}");
        }
        Situation::Unexpected => {
            assert_eq!((&words.unexpected, cause), (&names(&[image, "calico/x"]), Reason::UnexpectedImages), "{at}");
        }
        Situation::BadDigest => {
            let entries = [format!("{image}@md5:53"), "calico/x@a".to_owned()];
            assert_eq!((words.bad_digests.as_slice(), cause), (&entries[..], Reason::DigestsMalformed), "{at}");
        }
        Situation::CannotPull => {
            let pull = words.pulls.first().unwrap_or_else(|| panic!("{at}"));
            assert_eq!(
                (pull.pods.as_str(), pull.containers.as_str()),
                ("calico-system/calico-node", "install-cni"),
                "{at}"
            );
            assert_eq!(pull.image.as_deref(), message.contains(IMAGE).then_some(IMAGE), "{at}");
            assert_eq!(cause, Reason::PodsCannotPull, "{at}");
        }
        Situation::Other => {
            assert!(!cause.is_image_set_fault() && cause != Reason::PodsCannotPull, "{at}: {cause}");
            assert_ne!(cause, Reason::DegradedUnexplained, "{at}");
        }
        Situation::Silent => {}
    }
}

#[test]
fn the_messages_of_every_operator_are_understood() {
    let mut understood: BTreeMap<String, usize> = BTreeMap::new();
    for (key, ranges) in operator_words() {
        let meaning = situation(&key);
        *understood.entry(format!("{meaning:?}")).or_default() += 1;
        if meaning == Situation::Silent {
            continue;
        }
        for range in ranges.as_array().unwrap() {
            let text = |field: &str| range[field].as_str();
            assert!(release(text("from").unwrap()) <= release(text("to").unwrap()));
            let images: Vec<&str> = match range["image"].as_object() {
                Some(images) => images.values().map(|image| image.as_str().unwrap()).collect(),
                None => vec!["calico/cni"],
            };
            let reason = text("reason").unwrap_or_default();
            let templates = [text("message").or(text("error")), text("with_unexpected")].into_iter().flatten();
            for template in templates {
                for image in &images {
                    for message in filled(template, image) {
                        let situation = match template.contains("unexpected images") {
                            true => Situation::Unexpected,
                            false => meaning,
                        };
                        // Only the first name of a list that ends in another list is repeated.
                        let message = match template.contains("; bad digest images") {
                            true => message.replace("images: calico/cni;", "images: calico/cni, calico/x;"),
                            false => message,
                        };
                        let at = format!("{key} {}", text("from").unwrap());
                        check(situation, reason, &message, image, &at);
                        // Several messages of one component are joined by newlines; reasons up to v1.27 by semicolons.
                        let joined =
                            format!("{message}\nPod calico-system/calico-typha-5d8f-x is running but not ready");
                        check(situation, reason, &joined, image, &at);
                        check(situation, &format!("Pod creation failed; {reason}"), &message, image, &at);
                    }
                }
            }
        }
    }
    assert_eq!(understood.values().sum::<usize>(), 63, "{understood:?}");
}

/// From v1.43 on up to three problems of a workload are told, one a line, with the number of pods behind.
#[test]
fn every_line_of_a_message_counts() {
    let line = |pod: &str, container: &str| {
        format!("Pod calico-system/{pod} failed to pull container image \"{IMAGE}\" for container {container}")
    };
    let message = format!(
        "{} (3 pods affected)\n{} (old revision)\nPod calico-system/csi-x has crash looping container: csi",
        line("calico-node-7dv74", "install-cni"),
        line("calico-typha-5d8f-x", "calico-typha")
    );
    let words = OperatorMessage::of("PodFailure", &message);
    let containers: Vec<&str> = words.pulls.iter().map(|pull| pull.containers.as_str()).collect();
    assert_eq!((containers.as_slice(), words.cause()), (&["install-cni", "calico-typha"][..], Reason::PodsCannotPull));
    assert!(words.pulls.iter().all(|pull| pull.image.as_deref() == Some(IMAGE)), "{words:?}");
}

const KUBELET: &str = include_str!("../facts/kubelet-words.md");

/// The cause of each section, as the table at the top of the page says.
fn cause(section: &str) -> Option<PullFailureKind> {
    Some(match section {
        "nothere" | "childgone" => PullFailureKind::NotFound,
        // The kubelet shows of a quota what it shows of missing rights.
        "basic" | "bearer401" | "denied" | "quota" => PullFailureKind::Unauthorized,
        "bearer500" | "e500" | "e502" | "e503" => PullFailureKind::RegistryFailing,
        "limit" => PullFailureKind::RateLimited,
        "policy" => PullFailureKind::Refused,
        "html" | "corrupt" | "mismatch" => PullFailureKind::ContentInvalid,
        "badlayer" => PullFailureKind::LayerInvalid,
        "platform" => PullFailureKind::PlatformMissing,
        "refused" | "nohost" => PullFailureKind::Timeout,
        "unknownca" | "plainhttp" => PullFailureKind::Untrusted,
        "badname" | "emptytag" => PullFailureKind::NameInvalid,
        "never" => PullFailureKind::NeverPolicy,
        // No message, or one that has no word of the image.
        "silent" | "execformat" => return None,
        _ => panic!("{section}: what is it to be understood as?"),
    })
}

#[test]
fn the_messages_of_a_kubelet_are_understood() {
    let (table, sections) = KUBELET.split_once("\n### ").unwrap();
    let in_table: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.split(' ').next().unwrap_or_default())
        .filter(|name| !matches!(*name, "Section" | "|---|---|"))
        .collect();
    let mut seen = BTreeSet::new();
    for section in sections.split("\n### ") {
        let (name, lines) = section.split_once('\n').unwrap();
        seen.insert(name);
        let expected = cause(name);
        for line in lines.lines().filter_map(|line| line.strip_prefix("- ")) {
            let (reason, message) = line.split_once(": ").unwrap();
            let Some(reason) = reason.strip_prefix('`') else { continue };
            let (reason, message) = (reason.trim_end_matches('`'), message.trim_matches('`'));
            // A kubelet that pulled half of a broken image says what it found first.
            let expected = match name {
                "badlayer" if message.contains("unexpected commit digest") => Some(PullFailureKind::ContentInvalid),
                _ => expected,
            };
            assert_eq!(classify(reason, message), expected, "{name}: {message}");
            if reason == "ErrImagePull" {
                let later = format!("Back-off pulling image \"registry.example/a@sha256:01\": ErrImagePull: {message}");
                assert_eq!(classify("ImagePullBackOff", &later), expected, "{name}: {later}");
            }
        }
    }
    assert_eq!(seen, in_table);
}
