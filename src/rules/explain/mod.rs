//! The explain table: symptoms, causes and fixes; and the parsers of the messages of operators and kubelets.

pub mod kubelet_messages;
pub mod operator_messages;

use crate::model::Reason;

/// A row of the explain table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Reason of the findings about this symptom.
    pub reason: Reason,
    /// Entry of the ImageSet that the row is about, if it is about one.
    pub entry: Option<&'static str>,
    /// Symptom, and where it shows.
    pub seen: &'static str,
    /// Cause.
    pub cause: &'static str,
    /// Fix.
    pub fix: &'static str,
}

const fn row(reason: Reason, seen: &'static str, cause: &'static str, fix: &'static str) -> Row {
    Row { reason, entry: None, seen, cause, fix }
}

const fn row_of(entry: &'static str, seen: &'static str, cause: &'static str, fix: &'static str) -> Row {
    Row { entry: Some(entry), ..row(Reason::UnexpectedImages, seen, cause, fix) }
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
    row_of(
        "tigera/operator",
        "`unexpected images: tigera/operator`",
        "operators from v1.36 on refuse that entry; the documented script still adds it",
        "drop the entry",
    ),
    row_of(
        "tigera/key-cert-provisioner",
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
