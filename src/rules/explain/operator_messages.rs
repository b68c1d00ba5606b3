//! Parser of the operator's messages in a TigeraStatus.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{ImageName, Reason, Reference};
use crate::rules::explain::other_causes;

/// Followed by names, separated by commas.
pub(crate) const UNEXPECTED: &str = "unexpected images:";

/// Followed by one name; the marker is repeated for the next one.
pub(crate) const MISSING: &str = "did not contain image ";

/// Followed by entries, separated by commas.
pub(crate) const BAD_DIGESTS: &str = "bad digest images:";

/// Followed by the name of the required set.
pub(crate) const EXACT_MISSING: &str = "none with the expected name ";

/// Between the pod and its containers (`for: …`, up to v1.42), or its image and container (`"…" for container …`, from v1.43 on).
pub(crate) const CANNOT_PULL: &str = "failed to pull container image";

/// Maximum number of names and entries that are parsed from one text.
pub(crate) const MOST: usize = 64;

/// Maximum length of a parsed word, in bytes.
pub(crate) const LONGEST: usize = 256;

/// The parsed messages of one condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperatorMessage {
    /// Name of the set that the operator requires, if sets exist and none has this name.
    pub wanted: Option<String>,
    /// Names in a set that the operator does not know.
    pub unexpected: BTreeSet<ImageName>,
    /// Entries of a set whose `image` is not a name: a reference, a tag, or a typo.
    pub misspelt: Vec<MisspeltName>,
    /// Names that a set lacks. The operator's message can hide more.
    pub missing: BTreeSet<ImageName>,
    /// Entries whose digest is malformed, as written.
    pub bad_digests: Vec<String>,
    /// Pods that cannot pull.
    pub pulls: Vec<Pull>,
    /// The cause, if it has nothing to do with images.
    pub other: Option<Reason>,
    /// Whether the message mentions images or sets in a way that this parser does not know.
    pub names_images: bool,
}

/// A pod that cannot pull its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Namespace and name of the pod, without the unique suffix.
    pub pods: String,
    /// Containers, as written.
    pub containers: String,
    /// Image, as written; operators before v1.43 do not name it.
    pub image: Option<String>,
}

/// An entry whose `image` is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MisspeltName {
    /// The text of the entry.
    pub written: String,
    /// The name to write, if the text shows which one is meant.
    pub name: Option<ImageName>,
}

impl MisspeltName {
    /// Reads a text that is not a name. The name of a reference is that of its repository.
    #[must_use]
    pub fn of(written: &str) -> Self {
        let lower = written.to_ascii_lowercase();
        let of_reference = || lower.parse::<Reference>().ok()?.image_name().ok();
        let name = lower.parse().ok().or_else(|| of_reference().filter(|name| lower.contains(name.as_str())));
        Self { written: written.to_owned(), name }
    }
}

impl fmt::Display for MisspeltName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{} (write {name})", self.written),
            None => write!(formatter, "{} (not a name such as calico/node)", self.written),
        }
    }
}

impl OperatorMessage {
    /// Parses the reason and message of a condition.
    #[must_use]
    pub fn of(reason: &str, message: &str) -> Self {
        let mut words = Self::default();
        for text in [reason, message] {
            for item in after(text, UNEXPECTED).flat_map(list_items).take(MOST) {
                match item.trim_end_matches('.').parse() {
                    Ok(name) => drop(words.unexpected.insert(name)),
                    Err(_) => words.misspelt.push(MisspeltName::of(item)),
                }
            }
            words.missing.extend(after(text, MISSING).filter_map(first_name));
            words.bad_digests.extend(after(text, BAD_DIGESTS).flat_map(list_items).map(str::to_owned));
            let wanted = after(text, EXACT_MISSING).find_map(|rest| rest.split(is_end_of_name).next());
            words.wanted = words.wanted.or(wanted.filter(|name| is_word(name)).map(str::to_owned));
            words.pulls.extend(pulls(text));
            words.other = words.other.into_iter().chain(other_causes::classify(text)).min();
            words.names_images |= ["ImageSet", "image", "digest"].iter().any(|word| text.contains(word));
        }
        words.misspelt.truncate(MOST);
        words.bad_digests.truncate(MOST);
        words.pulls.truncate(MOST);
        words
    }

    /// Returns the cause. An ImageSet is to blame for the first four.
    #[must_use]
    pub fn cause(&self) -> Reason {
        match self {
            _ if self.wanted.is_some() => Reason::ExactImageSetMissing,
            _ if !self.unexpected.is_empty() || !self.misspelt.is_empty() => Reason::UnexpectedImages,
            _ if !self.bad_digests.is_empty() => Reason::DigestsMalformed,
            _ if !self.missing.is_empty() => Reason::ImagesNotListed,
            _ if !self.pulls.is_empty() => Reason::PodsCannotPull,
            Self { other: Some(other), .. } => *other,
            _ if self.names_images => Reason::DegradedUnexplained,
            _ => Reason::ComponentDegraded,
        }
    }
}

/// Returns the text after each occurrence of a marker.
pub(crate) fn after<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(marker).skip(1).take(MOST)
}

/// Parses an image name at the start of a text.
pub(crate) fn first_name(rest: &str) -> Option<ImageName> {
    rest.split(is_end_of_name).find(|word| !word.is_empty())?.trim_end_matches('.').parse().ok()
}

/// Whether a name ends before this character. The messages of several components are joined by line ends.
fn is_end_of_name(one: char) -> bool {
    one.is_whitespace() || matches!(one, ',' | ';' | '"')
}

/// Returns the words of a list that is separated by commas. The list ends with the first item that is followed by something else.
pub(crate) fn list_items(rest: &str) -> impl Iterator<Item = &str> {
    let list = rest.split(';').next().unwrap_or_default();
    let mut has_ended = false;
    let items = list.split(',').map_while(move |part| {
        let mut words = part.split_whitespace();
        let first = if has_ended { None } else { words.next() };
        has_ended |= words.next().is_some();
        first
    });
    items.filter(|item| is_word(item)).take(MOST)
}

/// Parses messages such as `Pod calico-system/calico-node-7dv74 failed to pull container image for: flexvol-driver`.
pub(crate) fn pulls(text: &str) -> impl Iterator<Item = Pull> {
    let parts: Vec<&str> = text.split(CANNOT_PULL).take(MOST + 1).collect();
    let pairs: Vec<Option<Pull>> = parts.windows(2).map(|pair| pull(pair[0], pair[1])).collect();
    pairs.into_iter().flatten()
}

/// Parses the text before and after the words that a pod cannot pull.
fn pull(before: &str, rest: &str) -> Option<Pull> {
    let pod = before.split_whitespace().next_back().filter(|pod| pod.contains('/') && is_word(pod))?;
    let pods = pod.rsplit_once('-').map_or(pod, |(pods, _)| pods).to_owned();
    let (image, containers) = match rest.strip_prefix(" for:") {
        Some(containers) => (None, containers),
        None => {
            let (image, container) = rest.split_once(" for container ")?;
            let image = image.trim().trim_matches('"');
            (Some(image).filter(|image| is_word(image)), container)
        }
    };
    let end = containers.find([';', '\n', '(']).unwrap_or(containers.len());
    let containers: Vec<&str> = list_items(&containers[..end]).collect();
    Some(Pull { pods, containers: containers.join(", "), image: image.map(str::to_owned) })
}

/// Whether a word can be shown as it is.
pub(crate) fn is_word(word: &str) -> bool {
    !word.is_empty() && word.len() <= LONGEST && word.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &BTreeSet<ImageName>) -> Vec<&str> {
        names.iter().map(ImageName::as_str).collect()
    }

    #[test]
    fn several_names_of_one_message_are_parsed() {
        let message = "Error resolving ImageSet for components: invalid ImageSet: ImageSet did not contain image \
                       calico/typha, ImageSet did not contain image calico/pod2daemon-flexvol,ImageSet did not contain image calico/cni";
        let words = OperatorMessage::of("ResourceValidationError", message);
        assert_eq!(texts(&words.missing), ["calico/cni", "calico/pod2daemon-flexvol", "calico/typha"]);
        assert_eq!(words.cause(), Reason::ImagesNotListed);
    }

    #[test]
    fn a_name_ends_at_the_next_word() {
        let message = "ImageSet calico-v3.32.1: unexpected images: tigera/operator, calico/x; bad digest images: \
                       calico/csi@md5:5371, calico/cni@x";
        let words = OperatorMessage::of("ResourceValidationError", message);
        assert_eq!(texts(&words.unexpected), ["calico/x", "tigera/operator"]);
        assert_eq!(words.bad_digests, ["calico/csi@md5:5371", "calico/cni@x"]);
        assert_eq!(words.cause(), Reason::UnexpectedImages);
    }

    #[test]
    fn up_to_v1_25_the_message_is_in_the_reason() {
        let words = OperatorMessage::of(
            "Error getting ImageSet",
            "ImageSets exist but none with the expected name calico-v3.22.2",
        );
        assert_eq!(words.wanted.as_deref(), Some("calico-v3.22.2"));
        let words = OperatorMessage::of("ImageSets exist but none with the expected name calico-v3.22.2", "");
        assert_eq!((words.wanted.as_deref(), words.cause()), (Some("calico-v3.22.2"), Reason::ExactImageSetMissing));
    }

    #[test]
    fn a_pod_is_named_without_its_unique_suffix() {
        let message = "Pod calico-system/calico-node-7dv74 failed to pull container image for: flexvol-driver";
        let pulls = OperatorMessage::of("PodFailure", message).pulls;
        let pods = "calico-system/calico-node".to_owned();
        assert_eq!(pulls, [Pull { pods: pods.clone(), containers: "flexvol-driver".to_owned(), image: None }]);
        // From v1.43 on with the image, one line for each workload.
        let message = "Pod calico-system/calico-node-7dv74 failed to pull container image \"quay.io/calico/node@sha256:01\" for \
                       container calico-node (3 pods affected)\nPod calico-system/calico-typha-5c-x2 failed to pull container \
                       image \"quay.io/calico/typha:v3\" for container calico-typha (old revision)";
        let pulls = OperatorMessage::of("PodFailure", message).pulls;
        let image = |image: &str| Some(image.to_owned());
        assert_eq!(
            pulls,
            [
                Pull { pods, containers: "calico-node".to_owned(), image: image("quay.io/calico/node@sha256:01") },
                Pull {
                    pods: "calico-system/calico-typha-5c".to_owned(),
                    containers: "calico-typha".to_owned(),
                    image: image("quay.io/calico/typha:v3"),
                },
            ]
        );
    }

    #[test]
    fn misspelt_entries_are_named_with_what_to_write() {
        let message = "ImageSet calico-v3.32.1: unexpected images: quay.io/calico/node, calico/node:v3, Calico/CNI, node, calico/x. Or";
        let words = OperatorMessage::of("ResourceValidationError", message);
        assert_eq!(texts(&words.unexpected), ["calico/x"]);
        let misspelt: Vec<String> = words.misspelt.iter().map(ToString::to_string).collect();
        assert_eq!(
            misspelt,
            [
                "quay.io/calico/node (write calico/node)",
                "calico/node:v3 (write calico/node)",
                "Calico/CNI (write calico/cni)",
                "node (not a name such as calico/node)",
            ]
        );
    }

    #[test]
    fn messages_about_other_matters_are_not_blamed_on_images() {
        let cause = |message: &str| OperatorMessage::of("ResourceReadError", message).cause();
        assert_eq!(cause("Error doing a new thing"), Reason::ComponentDegraded);
        assert_eq!(cause("Error getting ImageSet: etcdserver: request timed out"), Reason::DatastoreUnavailable);
        assert_eq!(cause("Error with images of tomorrow"), Reason::DegradedUnexplained);
    }
}
