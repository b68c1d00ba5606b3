//! The explain table: symptoms, causes and fixes; and the parsers of the messages of operators and kubelets, and of texts that quote them.

pub mod kubelet_messages;
pub mod operator_messages;
pub mod other_causes;
pub mod paste;

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

/// The explain table, the worst first: `explain` reports several problems in this order.
pub const TABLE: [Row; 36] = [
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
        Reason::PullNotFound,
        "`ErrImagePull`, `ImagePullBackOff`: `…@sha256:…` not found, `manifest unknown`",
        "the digest of another registry, of a single-platform copy, garbage-collected, not yet in a pull-through cache, or of a platform that the index lists and the registry lacks",
        "compare it with the tag in that registry; push or mirror the image again; warm the cache by tag",
    ),
    row(
        Reason::PullUnauthorized,
        "`ErrImagePull` with 401, 403 or `pull access denied`",
        "the pull secret is missing in the pod's namespace, or wrong",
        "check `imagePullSecrets` of the Installation",
    ),
    row(
        Reason::PullRefused,
        "`ErrImagePull` with 412, `PROJECTPOLICYVIOLATION` or a missing signature",
        "a policy of the registry or of the node refuses the image, whatever the credentials; the kubelet shows the status only",
        "ask the registry why: `imageset-controller verify` shows its words; exempt the image there, or push one that passes",
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
        Reason::PullContentInvalid,
        "`ErrImagePull`: `unexpected commit digest`",
        "something between node and registry serves other bytes than the digest names: a proxy's login page, or a broken cache",
        "pull the digest on that node by hand, compare with another network, and empty the cache or exempt the registry from the proxy",
    ),
    row(
        Reason::PullLayerInvalid,
        "`ErrImagePull`: `failed to extract layer`",
        "a layer cannot be unpacked: a broken push or mirror",
        "push or mirror the image again, and remove the broken copy from caches",
    ),
    row(
        Reason::PullDiskFull,
        "`ErrImagePull`: `no space left on device`",
        "the disk of the node is full",
        "free the disk of the container runtime on that node (`crictl rmi --prune`)",
    ),
    row(
        Reason::PullUntrusted,
        "`ErrImagePull` with `x509:`, `tls:` or `server gave HTTP response to HTTPS client`",
        "the node does not trust the registry's certificate, or speaks TLS to a registry that serves plain HTTP",
        "give the certificate authority to the container runtime of every node, or configure plain HTTP there",
    ),
    row(
        Reason::PullNameInvalid,
        "`InvalidImageName`, `couldn't parse image name`",
        "the image is not a reference: registry, image path and prefix do not make one",
        "correct `registry`, `imagePath` and `imagePrefix` of the Installation, without scheme and without slashes at the ends",
    ),
    row(
        Reason::PullNever,
        "`ErrImageNeverPull`",
        "the pull policy of the workload is Never, and the node does not have the image",
        "load the image on every node, or take `imagePullPolicy` out of the overrides",
    ),
    row(
        Reason::PullRegistryFailing,
        "`ErrImagePull` with a 5xx or a `stream error`",
        "the registry, its token service or the proxy in front of it fails",
        "look at the registry's own log; kubelets try again by themselves",
    ),
    row(
        Reason::PullTimeout,
        "`ErrImagePull` with a timeout, `connection refused` or `no such host`",
        "the node does not reach the registry, or not in time",
        "check network, DNS and proxy of the nodes",
    ),
    row(
        Reason::ExecFormatError,
        "`exec format error` in a pinned pod, or in the log of a container that crashes",
        "the manifest of one platform was pinned and not the index",
        "pin the index",
    ),
    row(
        Reason::PodsCannotPull,
        "`Pod … failed to pull container image …`",
        "an image cannot be pulled; the operator names the pod, from v1.43 on the image, and never why",
        "see `ImagePullFailing`, which names the entry and the registry's answer; or the events of the pod: `kubectl describe pod`",
    ),
    row(
        Reason::PullFailed,
        "`ErrImagePull`, `ImagePullBackOff` with no word of why, or with words that are not in this table",
        "the kubelet says why in an event of the pod, and leaves it out in most other places",
        "look at the events: `kubectl describe pod`; the condition `ImagePullFailing` keeps what the kubelet said first",
    ),
    row(
        Reason::OperatorKindsMissing,
        "`no matches for kind \"Installation\"`, `ensure CRDs are installed first`",
        "the definitions of the operator's kinds are not installed; from v3.32 on they are in a Helm chart of their own",
        "install them first: `operator-crds.yaml` of the release, or the chart `crd.projectcalico.org.v1`",
    ),
    row(
        Reason::ComponentKindsMissing,
        "`no matches for kind \"IPPool\"` and other kinds that are not the operator's",
        "Calico's API server does not serve its kinds yet, or definitions are of another release",
        "wait until TigeraStatus `apiserver` is Available; install the definitions of the operator's own release",
    ),
    row(
        Reason::OperatorForbidden,
        "`… is forbidden: User \"…\" cannot list resource`",
        "the operator's role lacks a right: its manifest is of another release than its image",
        "install the ClusterRoles of the operator's own release",
    ),
    row(
        Reason::AdmissionRefused,
        "`admission webhook … denied the request`, `failed calling webhook`, `violates PodSecurity`",
        "an admission webhook or policy, Pod Security or a quota refuses what the operator writes",
        "the message names what refuses: repair it, or exempt the operator's namespaces there",
    ),
    row(
        Reason::InstallationInvalid,
        "`InvalidConfigurationError`, `Invalid Installation provided`",
        "the operator refuses a setting",
        "correct the field that the message names",
    ),
    row(
        Reason::KubernetesApiGone,
        "`no matches for kind … in version \"policy/v1beta1\"`",
        "the operator release is older than this Kubernetes, which no longer has that API",
        "use an operator release that supports this Kubernetes version",
    ),
    row(
        Reason::DatastoreUnavailable,
        "`connection is unauthorized`, `etcdserver:`, `dial tcp … i/o timeout` to the API server",
        "the API server, etcd or Calico's datastore does not answer, or refuses Calico's components",
        "check the API server, and the network between it and the component; restart a calico-node whose token is too old",
    ),
    row(
        Reason::ClusterCertificateInvalid,
        "`x509:`, `Unable to create the Tigera CA`, `key pair`",
        "a certificate in the cluster is missing, expired or not trusted",
        "renew or delete the Secret that the message names; the operator makes its own again",
    ),
    row(
        Reason::PodsCrashing,
        "`Pod … has crash looping container`, `CrashLoopBackOff`, `is running but not ready`",
        "the image is there; the container crashes, ends, or does not get ready",
        "read its log: `kubectl logs POD -c CONTAINER --previous`; if that says `exec format error`, pin the index",
    ),
    row(
        Reason::PodsPending,
        "`Pod … is pending`, `FailedScheduling`, `ContainerCreating` for minutes",
        "no node fits, a volume or the network is missing, or the registry never answers the node, which shows no other symptom",
        "see the events of the pod: `kubectl describe pod`",
    ),
    row(
        Reason::OperatorWaiting,
        "`Waiting for …`, `… not found`",
        "the operator waits for another object or component",
        "see what the message names: `kubectl get tigerastatus`",
    ),
    row(
        Reason::DegradedUnexplained,
        "`True` under DEGRADED without a message, as `kubectl get tigerastatus` may print it",
        "it is degraded, and this text does not say why",
        "pass the whole status",
    ),
    row(
        Reason::ComponentDegraded,
        "anything else that a TigeraStatus says",
        "no words in it are known",
        "read the whole message: `kubectl describe tigerastatus`; the ImageSet is to blame only where a pod cannot pull or start its image (`ImagePullFailing`)",
    ),
];

/// Returns the row about a reason and an entry; without a row of that entry, the general one.
#[must_use]
pub fn find_row(reason: Reason, entry: Option<&str>) -> Option<&'static Row> {
    static ROWS: [Row; TABLE.len()] = TABLE;
    let of_entry = |entry: Option<&str>| ROWS.iter().find(|row| row.reason == reason && row.entry == entry);
    of_entry(entry).or_else(|| of_entry(None))
}

/// Returns how bad a row is: the smaller, the worse. Content of a set that the operator refuses is equally bad, whatever is wrong with it.
fn rank(row: &Row) -> usize {
    let is_content = |row: &Row| row.reason.is_image_set_fault() && row.reason != Reason::ExactImageSetMissing;
    let is_equal = |one: &Row| one.reason == row.reason || is_content(one) && is_content(row);
    TABLE.iter().position(is_equal).unwrap_or(TABLE.len())
}
