//! Parser of the operator's messages in a TigeraStatus.

use std::collections::BTreeSet;

use crate::model::{ImageName, Reason};

/// Followed by names, separated by commas.
pub(crate) const UNEXPECTED: &str = "unexpected images:";

/// Followed by one name; the marker is repeated for the next one.
pub(crate) const MISSING: &str = "did not contain image ";

/// Followed by entries, separated by commas.
pub(crate) const BAD_DIGESTS: &str = "bad digest images:";

/// Followed by the name of the required set.
pub(crate) const EXACT_MISSING: &str = "none with the expected name ";

/// Followed by the containers; the pod is in front.
pub(crate) const CANNOT_PULL: &str = "failed to pull container image for:";

/// Maximum number of names and entries that are parsed from one text.
pub(crate) const MOST: usize = 64;

/// Maximum length of a parsed word, in bytes.
pub(crate) const LONGEST: usize = 128;

/// The parsed messages of one condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OperatorMessage {
    /// Name of the set that the operator requires, if sets exist and none has this name.
    pub wanted: Option<String>,
    /// Names in a set that the operator does not know.
    pub unexpected: BTreeSet<ImageName>,
    /// Names that a set lacks. The operator's message can hide more.
    pub missing: BTreeSet<ImageName>,
    /// Entries whose digest is malformed, as written.
    pub bad_digests: Vec<String>,
    /// A pod that cannot pull.
    pub pull: Option<Pull>,
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
}

impl OperatorMessage {
    /// Parses the reason and message of a condition.
    #[must_use]
    pub fn of(reason: &str, message: &str) -> Self {
        let mut words = Self::default();
        for text in [reason, message] {
            words.unexpected.extend(after(text, UNEXPECTED).flat_map(names));
            words.missing.extend(after(text, MISSING).filter_map(|rest| names(rest).next()));
            words.bad_digests.extend(after(text, BAD_DIGESTS).flat_map(entries));
            let wanted = after(text, EXACT_MISSING).find_map(|rest| rest.split([' ', ',', ';', '"']).next());
            words.wanted = words.wanted.or(wanted.filter(|name| is_word(name)).map(str::to_owned));
            words.pull = words.pull.or_else(|| pull(text));
            words.names_images |= ["ImageSet", "image", "digest"].iter().any(|word| text.contains(word));
        }
        words.bad_digests.truncate(MOST);
        words
    }

    /// Returns the cause. An ImageSet is to blame for all of them but the last two.
    #[must_use]
    pub fn cause(&self) -> Reason {
        match self {
            _ if self.wanted.is_some() => Reason::ExactImageSetMissing,
            _ if !self.unexpected.is_empty() => Reason::UnexpectedImages,
            _ if !self.bad_digests.is_empty() => Reason::DigestsMalformed,
            _ if !self.missing.is_empty() => Reason::ImagesNotListed,
            _ if self.pull.is_some() => Reason::PodsCannotPull,
            _ if self.names_images => Reason::DegradedUnexplained,
            _ => Reason::ComponentDegraded,
        }
    }
}

/// Returns the text after each occurrence of a marker.
pub(crate) fn after<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(marker).skip(1).take(MOST)
}

/// Parses image names separated by commas, up to the first word that is not one.
pub(crate) fn names(rest: &str) -> impl Iterator<Item = ImageName> {
    let words = rest.split([',', ' ', ';']).filter(|word| !word.is_empty());
    words.map_while(|word| word.trim_end_matches('.').parse().ok()).take(MOST)
}

/// Parses entries such as `calico/csi@md5:53`, separated by commas, up to the first word that is not one.
pub(crate) fn entries(rest: &str) -> impl Iterator<Item = String> {
    let words = rest.split([',', ' ', ';']).filter(|word| !word.is_empty());
    words.take_while(|word| word.contains('/') && is_word(word)).map(str::to_owned).take(MOST)
}

/// Parses a message such as `Pod calico-system/calico-node-7dv74 failed to pull container image for: flexvol-driver`.
pub(crate) fn pull(text: &str) -> Option<Pull> {
    let (before, rest) = text.split_once(CANNOT_PULL)?;
    let pod = before.split_whitespace().next_back().filter(|pod| pod.contains('/') && is_word(pod))?;
    let pods = pod.rsplit_once('-').map_or(pod, |(pods, _)| pods).to_owned();
    let containers = rest.split([',', ' ']).filter(|word| is_word(word)).take(MOST).collect::<Vec<_>>().join(", ");
    Some(Pull { pods, containers })
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
        let pull = OperatorMessage::of("PodFailure", message).pull.unwrap();
        assert_eq!((pull.pods.as_str(), pull.containers.as_str()), ("calico-system/calico-node", "flexvol-driver"));
    }

    #[test]
    fn messages_about_other_matters_are_not_blamed_on_images() {
        assert_eq!(
            OperatorMessage::of("ResourceReadError", "Error querying IP pools").cause(),
            Reason::ComponentDegraded
        );
        let unknown = OperatorMessage::of("ResourceReadError", "Error getting ImageSet: etcdserver: request timed out");
        assert_eq!(unknown.cause(), Reason::DegradedUnexplained);
    }
}
