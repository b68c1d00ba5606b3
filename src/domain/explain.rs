//! What an operator says when it is Degraded, understood: matched on the stable middle of the text, in reason and message together,
//! because the same cause comes with other beginnings from other controllers and releases, and releases up to v1.25 put the text
//! into the reason. Pure; needs no cluster. The words of all eras are in the facts (`operator-behaviour.md`).

use std::collections::BTreeSet;

use super::ImageName;
use super::finding::Reason;

/// Names follow, with commas between them.
const UNEXPECTED: &str = "unexpected images:";
/// One name follows; the text comes again for the next one.
const MISSING: &str = "did not contain image ";
/// Entries follow, with commas between them.
const BAD_DIGESTS: &str = "bad digest images:";
/// The name that is wanted follows.
const EXACT_MISSING: &str = "none with the expected name ";
/// The containers follow; the pod stands in front.
const CANNOT_PULL: &str = "failed to pull container image for:";
/// The most names and entries that are taken from one text.
const MOST: usize = 64;
/// The longest word that is taken from a text, in bytes.
const LONGEST: usize = 128;

/// What was understood of a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// Sets are there, and none has this name.
    pub wanted: Option<String>,
    /// Names in a set that the operator does not know.
    pub unexpected: BTreeSet<ImageName>,
    /// Names that a set lacks; the text can hide more.
    pub missing: BTreeSet<ImageName>,
    /// Entries whose digest is none, as they are written.
    pub bad_digests: Vec<String>,
    /// A pod that cannot pull.
    pub pull: Option<Pull>,
    /// Images or sets are named in a way that is not known here.
    pub names_images: bool,
}

/// A pod that cannot pull its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Namespace and name of the pod, without the part that each pod has of its own.
    pub pods: String,
    /// The containers, as they are written.
    pub containers: String,
}

impl Words {
    /// Understands what a condition says.
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

    /// The cause. An ImageSet is to blame for all of them but the last two.
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

/// What follows each occurrence of a text.
fn after<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(marker).skip(1).take(MOST)
}

/// Image names with commas between them, up to the first word that is none.
fn names(rest: &str) -> impl Iterator<Item = ImageName> {
    let words = rest.split([',', ' ', ';']).filter(|word| !word.is_empty());
    words.map_while(|word| word.trim_end_matches('.').parse().ok()).take(MOST)
}

/// Entries such as `calico/csi@md5:53`, with commas between them, up to the first word that is none.
fn entries(rest: &str) -> impl Iterator<Item = String> {
    let words = rest.split([',', ' ', ';']).filter(|word| !word.is_empty());
    words.take_while(|word| word.contains('/') && is_word(word)).map(str::to_owned).take(MOST)
}

/// `Pod calico-system/calico-node-7dv74 failed to pull container image for: flexvol-driver`
fn pull(text: &str) -> Option<Pull> {
    let (before, rest) = text.split_once(CANNOT_PULL)?;
    let pod = before.split_whitespace().next_back().filter(|pod| pod.contains('/') && is_word(pod))?;
    let pods = pod.rsplit_once('-').map_or(pod, |(pods, _)| pods).to_owned();
    let containers = rest.split([',', ' ']).filter(|word| is_word(word)).take(MOST).collect::<Vec<_>>().join(", ");
    Some(Pull { pods, containers })
}

/// Something that can be shown as it is.
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.len() <= LONGEST && word.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A row of the table that people know: what they see, why, and what they do.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The reason under which it is told.
    pub reason: Reason,
    /// What is seen, and where.
    pub seen: &'static str,
    /// Why.
    pub cause: &'static str,
    /// What helps.
    pub fix: &'static str,
}

const fn row(reason: Reason, seen: &'static str, cause: &'static str, fix: &'static str) -> Row {
    Row { reason, seen, cause, fix }
}

/// The explain table.
pub const TABLE: [Row; 16] = [
    row(
        Reason::ExactImageSetMissing,
        "`ImageSets exist but none with the expected name calico-vX`",
        "the operator was upgraded before its set was stored; or a stale set, one of another tool, or a typo that starts with `calico`",
        "have the set of that name stored for that operator version, or delete all ImageSets (every pod goes back to tags and rolls)",
    ),
    row(
        Reason::NotSelected,
        "`status.imageSet` of the Installation is empty, and nothing is Degraded",
        "calico is still rolling out; or the only sets have a name that this operator does not look for",
        "wait until TigeraStatus `calico` is Available; correct the name",
    ),
    row(
        Reason::UnexpectedImages,
        "`unexpected images: tigera/operator`",
        "operators from v1.36 on refuse that entry; the documented script still adds it",
        "drop the entry",
    ),
    row(
        Reason::UnexpectedImages,
        "`unexpected images: tigera/key-cert-provisioner`",
        "from v1.34 on the image is `calico/key-cert-provisioner`",
        "rename the entry",
    ),
    row(
        Reason::UnexpectedImages,
        "`unexpected images: …` of another name",
        "the list was made for another operator version, or this one is a vendor's build",
        "have the set made for this version; the images of an unknown build are asked of itself (inspection)",
    ),
    row(
        Reason::ImagesNotListed,
        "`ImageSet did not contain image X`",
        "the list was made for another version, by the documented script, or before a feature was enabled",
        "have the set made anew for this version; the message can hide more names",
    ),
    row(
        Reason::DigestsMalformed,
        "`bad digest images: …`",
        "a digest without `sha256:` in front",
        "have the set made anew",
    ),
    row(
        Reason::PodsCannotPull,
        "`Pod … failed to pull container image for: …`",
        "an image cannot be pulled; the operator names the pod and never the entry of the set",
        "see `ImagePullFailing`, which names the entry and the registry's answer",
    ),
    row(
        Reason::PullNotFound,
        "`ErrImagePull`, `ImagePullBackOff`: `…@sha256:…` not found",
        "the digest of another registry, of a single-platform copy, garbage-collected, or not yet in a pull-through cache",
        "compare it with the tag in that registry; push or mirror the image again; warm the cache by tag",
    ),
    row(
        Reason::PullUnauthorized,
        "`ErrImagePull` with 401, 403 or `pull access denied`",
        "the pull secret is missing in the pod's namespace, or wrong",
        "check `imagePullSecrets` of the Installation",
    ),
    row(
        Reason::PullPlatformMissing,
        "`ErrImagePull`: `no match for platform in manifest`",
        "the mirror has one platform of the image, and the node is of another one",
        "mirror the whole index (`crane copy`, `skopeo copy --all`) and have the set made anew",
    ),
    row(
        Reason::PullRateLimited,
        "`ErrImagePull` with 429 or `toomanyrequests`",
        "the registry's rate limit for the nodes is used up",
        "pull with credentials, or from a mirror",
    ),
    row(
        Reason::PullTimeout,
        "`ErrImagePull` with a timeout, `connection refused`, `no such host`, `x509:` or a 5xx",
        "the node does not reach the registry or does not trust it, or the registry fails",
        "check network, DNS and proxy of the nodes, and whether they trust the registry's certificate",
    ),
    row(
        Reason::PullFailed,
        "`ErrImagePull`, `ImagePullBackOff` with no word of why, or with words that are not in this table",
        "the kubelet says why in an event of the pod, and leaves it out in most other places",
        "look at the events: `kubectl describe pod`; the condition `ImagePullFailing` keeps what the kubelet said first",
    ),
    row(
        Reason::ExecFormatError,
        "`exec format error` in a pinned pod, or in the log of a container that crashes",
        "the manifest of one platform was pinned and not the index",
        "pin the index",
    ),
    row(
        Reason::ComponentDegraded,
        "anything else that a TigeraStatus says",
        "its words name no image: IP pools, tiers, certificates, a Kubernetes API that is gone, a container that crashes, …",
        "read its message; the ImageSet is to blame only where a pod cannot pull or start its image (`ImagePullFailing`)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &BTreeSet<ImageName>) -> Vec<&str> {
        names.iter().map(ImageName::as_str).collect()
    }

    #[test]
    fn several_names_stand_in_one_text_with_or_without_blanks() {
        let message = "Error resolving ImageSet for components: invalid ImageSet: ImageSet did not contain image \
                       calico/typha, ImageSet did not contain image calico/pod2daemon-flexvol,ImageSet did not contain image calico/cni";
        let words = Words::of("ResourceValidationError", message);
        assert_eq!(texts(&words.missing), ["calico/cni", "calico/pod2daemon-flexvol", "calico/typha"]);
        assert_eq!(words.cause(), Reason::ImagesNotListed);
    }

    #[test]
    fn a_name_ends_where_the_operator_says_something_else() {
        let message = "ImageSet calico-v3.32.1: unexpected images: tigera/operator, calico/x; bad digest images: \
                       calico/csi@md5:5371, calico/cni@x";
        let words = Words::of("ResourceValidationError", message);
        assert_eq!(texts(&words.unexpected), ["calico/x", "tigera/operator"]);
        assert_eq!(words.bad_digests, ["calico/csi@md5:5371", "calico/cni@x"]);
        assert_eq!(words.cause(), Reason::UnexpectedImages);
    }

    #[test]
    fn up_to_v1_25_the_text_is_in_the_reason() {
        let words =
            Words::of("Error getting ImageSet", "ImageSets exist but none with the expected name calico-v3.22.2");
        assert_eq!(words.wanted.as_deref(), Some("calico-v3.22.2"));
        let words = Words::of("ImageSets exist but none with the expected name calico-v3.22.2", "");
        assert_eq!((words.wanted.as_deref(), words.cause()), (Some("calico-v3.22.2"), Reason::ExactImageSetMissing));
    }

    #[test]
    fn a_pod_is_told_by_what_it_shares_with_others() {
        let message = "Pod calico-system/calico-node-7dv74 failed to pull container image for: flexvol-driver";
        let pull = Words::of("PodFailure", message).pull.unwrap();
        assert_eq!((pull.pods.as_str(), pull.containers.as_str()), ("calico-system/calico-node", "flexvol-driver"));
    }

    #[test]
    fn what_is_not_about_images_is_not_blamed_on_them() {
        assert_eq!(Words::of("ResourceReadError", "Error querying IP pools").cause(), Reason::ComponentDegraded);
        let unknown = Words::of("ResourceReadError", "Error getting ImageSet: etcdserver: request timed out");
        assert_eq!(unknown.cause(), Reason::DegradedUnexplained);
    }
}
