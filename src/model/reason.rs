//! The closed list of reasons, shared by conditions, events, metrics, exit codes and docs, and the conditions that they belong
//! to. `docs/reference/reasons.md` is generated from this list.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::condition_type::ConditionType;
use crate::model::explained::explained;
use crate::model::failure_cause::FailureCause;
use crate::model::pods::PullFailureKind;
use crate::model::registry_failure::{RegistryFailure, RegistryFailureKind};

explained! {
    /// How much a finding matters.
    Severity,
    /// Returns what the severity means to a person.
    meaning:
    Normal "As it should be; said because somebody may ask.",
    Note "Worth knowing; nothing is wrong and nothing is to be done now.",
    Waiting "Under way: it ends by itself.",
    Warning "Somebody should look; nothing is held up.",
    Blocking "It is retried by itself, but something outside has to change first.",
    Stalled "Nothing happens until a person acts.",
}

macro_rules! reasons {
    ($($name:ident, $condition:ident, $severity:ident, $meaning:literal, $next:literal;)*) => {
        /// Why something is as it is. The list is closed: a new reason is a line in this table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the reference page.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the name, as conditions and metric labels show it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Returns the condition that the reason belongs to.
            #[must_use]
            pub const fn condition(self) -> ConditionType {
                match self { $(Self::$name => ConditionType::$condition,)* }
            }

            /// Returns how much the reason matters.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// Returns what the reason means, for the reference page.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// Returns what a person does about it; empty if nothing is to be done.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }
        }

        /// The error for a text that is not a reason of this version. Another version may have written it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error("it is not a known reason")]
        pub struct UnknownReason;

        impl std::str::FromStr for Reason {
            type Err = UnknownReason;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $(stringify!($name) => Ok(Self::$name),)* _ => Err(UnknownReason) }
            }
        }
    };
}

reasons! {
    // Ready, Reconciling, Stalled
    Succeeded, Ready, Normal, "Everything that the policy asks for is done.", "";
    PlanComputed, Ready, Normal, "The policy observes: its plan is computed, nothing is written.", "set spec.mode: Apply to have it carried out";
    Suspended, Ready, Normal, "The policy is suspended: nothing is written but status.", "set spec.suspend: false to go on";
    Progressing, Reconciling, Waiting, "Work is under way.", "";
    NoWorkUnderWay, Reconciling, Normal, "Nothing is under way.", "";
    NotStalled, Stalled, Normal, "No person is needed.", "";
    FindingsCut, Ready, Note, "There are more findings than the status holds; it holds the worst.", "solve these first: the others follow in their place; the metric imageset_controller_findings counts them all";
    PolicyInvalid, Stalled, Stalled, "A field of the policy cannot be understood.", "correct the field that the message names";
    ContestedOwnership, Stalled, Stalled, "A set of ours was changed by somebody else again and again, and we stopped putting it back.", "find the other writer (metadata.managedFields of the set) and stop it, or put its digests into spec.images.digests; writing resumes ten minutes after the first of these changes";
    ReadForbidden, Ready, Blocking, "The apiserver denied a read that a decision needs.", "give the controller's role this right; deploy/base has all that it needs";
    ViewForbidden, Ready, Warning, "The apiserver denied a read that only something that is told needs; everything else goes on.", "give the controller's role this right; deploy/base has all that it needs";
    ViewFailed, Ready, Warning, "A read failed that only something that is told needs; everything else goes on.", "it is tried again; look at the apiserver if it lasts";
    RecordUnreadable, Ready, Warning, "A record of resolved digests is damaged; it is not used. The record of a wanted set is written again.", "find out who changed the ConfigMap (metadata.managedFields); where the record is of no wanted set, delete the ConfigMap";
    ObjectNotManaged, Ready, Blocking, "An object of the name that the controller needs exists, and the controller did not create it; it is left as it is.", "delete or rename the object that the message names";
    InspectionNotStarted, Ready, Blocking, "The Job that would ask an operator image cannot be made.", "the message says why; deploy/base has the namespace, the account and the rights";
    ReadFailed, Ready, Blocking, "A read from the apiserver failed.", "it is retried; look at the apiserver if it lasts";

    // VersionKnown
    VersionFound, VersionKnown, Normal, "The operator's version is known.", "";
    FirstInstall, VersionKnown, Normal, "No operator was seen yet; the set is made for the one entry of prepare.versions.", "";
    FirstInstallAmbiguous, VersionKnown, Blocking, "No operator was seen yet and prepare.versions does not name exactly one version.", "name exactly one version in spec.prepare.versions until the operator is installed";
    OperatorNotFound, VersionKnown, Blocking, "There is no operator Deployment where the policy says.", "install the operator, correct spec.operator, or name the version to install in spec.prepare.versions";
    OperatorGone, VersionKnown, Warning, "The operator Deployment is gone; its last version stays the target and nothing changes.", "put the Deployment back, or delete the policy if Calico is being removed";
    OperatorContainerNotFound, VersionKnown, Blocking, "The operator Deployment has no container of the configured name.", "correct spec.operator.container";
    OperatorImageInvalid, VersionKnown, Blocking, "The operator's image is not a reference that a node can pull.", "correct the image of the operator Deployment";
    OperatorVersionUnknown, VersionKnown, Blocking, "The version of the operator image cannot be told.", "use a released operator image by tag, or one with a version label by digest; a release that this controller does not know needs a newer controller";
    OperatorVersionAmbiguous, VersionKnown, Blocking, "The sources for the operator's version disagree; nothing is done on a guess.", "make the image tag and the image's version label agree, pin the operator by digest, or see that one of the pods gets Ready";
    InspectionRunning, VersionKnown, Waiting, "The catalogue does not know this operator image; it is run to ask it for its version and its images.", "";
    InspectionPlanned, VersionKnown, Blocking, "The catalogue does not know this operator image, and it is not run in mode Observe or while suspended.", "set spec.mode: Apply (and spec.suspend: false) to have it asked, or use a newer controller that knows it";
    InspectionDisabled, VersionKnown, Blocking, "The catalogue does not know this operator image, and the policy does not allow to run it.", "set spec.inspection.enabled: true to have it asked, or use a newer controller that knows it";
    InspectionFailed, VersionKnown, Blocking, "An operator image that the catalogue does not know could not be run to its end.", "it is tried again by itself, and at once when the Job is deleted; see spec.inspection for pull secrets, node selector, tolerations and hostNetwork";
    InspectionOutputInvalid, VersionKnown, Blocking, "What an operator image prints of itself is not the whole list of an operator.", "run the image with --version and --print-images=list to see why; imageset-controller catalogue add takes a list by hand";
    PreReleaseMarker, VersionKnown, Blocking, "This operator version was built before its Calico release: its images are not releases and no ImageSet can be made.", "use another operator version";

    // Resolved
    AllImagesResolved, Resolved, Normal, "The digest of every image is known and verified.", "";
    Resolving, Resolved, Waiting, "Registries are being asked.", "";
    NothingToResolve, Resolved, Normal, "No set is wanted yet.", "";
    ImageMissing, Resolved, Blocking, "The registry does not have an image of the set.", "push or mirror the image; if nothing in the cluster needs it, set spec.images.onMissing: OmitUnneeded";
    SinglePlatformImage, Resolved, Warning, "An image is a single manifest where an index is expected: it serves the nodes that there are, and none of another platform.", "mirror the whole index (crane copy, skopeo copy --all) before nodes of another platform join";
    PlatformMissing, Resolved, Blocking, "An image has no manifest for a platform of the cluster's nodes, or its index lists one that the registry does not have.", "mirror the whole index (crane copy, skopeo copy --all), not one platform of it";
    NodesNotServed, Resolved, Warning, "Images of a set have no manifest for a Windows node, or for the one node of its platform, or the registry lacks it. Their pods cannot start there; the set is stored for all other nodes.", "mirror the whole index (crane copy, skopeo copy --all); or see whether the node is what it reports (kubectl get node -o wide)";
    OperatorPlatformMissing, Resolved, Warning, "The operator's own image has nothing for a platform of the cluster's nodes. The operator cannot start where its pod is scheduled to one of them.", "mirror the whole index of the operator's image (crane copy, skopeo copy --all), or keep its pod on the other nodes by a node selector";
    NodePlatformUnknown, Resolved, Warning, "A node reports an operating system or architecture for which Kubernetes has no nodes (a virtual kubelet, a new architecture, a hostile node). Images are not checked for it; the sets of all other nodes go on.", "check what the node is (kubectl get node -o wide); nothing is to be done for a virtual kubelet";
    ContentUnsupported, Resolved, Blocking, "The registry serves something that nodes cannot run, such as a schema 1 manifest or an artifact.", "push the image again as an OCI or Docker schema 2 image or index";
    ExcludedImageRequired, Resolved, Blocking, "spec.images.exclude names an image that this operator version insists on.", "remove it from spec.images.exclude";
    OmissionUnproven, Resolved, Warning, "An image is left out of the set of an operator build whose requirements are not known. If the operator requires it, it rejects the set.", "watch OperatorDegraded when this operator runs; list the image again (spec.images.exclude), or push it, if the operator requires it";
    DigestForUnknownImage, Resolved, Warning, "spec.images.digests names an image that this operator version does not know; the entry is not used.", "remove it from spec.images.digests or correct its name";
    LayoutInvalid, Resolved, Blocking, "registry, imagePath and imagePrefix do not make an image reference.", "correct them in the Installation, or in spec.installation where there is none";
    RegistryUnauthorized, Resolved, Blocking, "The registry refuses the credentials, or asks for some.", "check the Installation's imagePullSecrets, or set spec.registries[].credentials";
    RegistryPolicyRefusal, Resolved, Blocking, "The registry has the image and refuses it by a policy of its own: a vulnerability, a missing signature, a quarantine, a quota. Nodes are refused as well.", "have the registry's administrator allow the image or raise the quota, or mirror it to a project without that policy";
    TokenServiceForeign, Resolved, Blocking, "The registry sends clients to a token service on a host outside its own domain, which gets no credentials unless it is named.", "if that token service is meant, name its host in spec.registries[].tokenService";
    TokenServiceFailing, Resolved, Blocking, "The registry's token service fails, or the registry names it by an address that cannot be used.", "check the token service, and the external address in the registry's own settings";
    RegistryWithoutTls, Resolved, Blocking, "The registry's port answers without TLS.", "name the port with TLS, or set spec.registries[].plainHttp for this registry";
    NodeCredentialsOnly, Resolved, Blocking, "The registry wants credentials and the Installation names no pull secret: the nodes have credentials of their own (a credential provider), which the controller cannot use.", "give the controller credentials in spec.registries[].credentials for this host, or an identity of the cloud with spec.registries[].provider";
    CloudIdentityMissing, Resolved, Blocking, "spec.registries[].provider names a cloud, and the controller has no identity there: nothing was injected into its pod, and the metadata service of the node does not give one.", "give the controller's service account an identity and restart its pod (docs/guide/eks.md, gke.md, aks.md), or set spec.registries[].provider: Generic and give credentials";
    CloudIdentityRefused, Resolved, Blocking, "The cloud or its registry rejects the controller's identity.", "grant the identity that the message names the permission that it names (docs/guide/eks.md, gke.md, aks.md)";
    CloudUnavailable, Resolved, Blocking, "A service of the cloud that issues tokens for the registry cannot be reached, limits the rate or fails. A token that is still valid is used meanwhile.", "it is retried; if it lasts, check that the network policy and the proxy let the controller reach the service that the message names";
    RegistryRateLimited, Resolved, Blocking, "The registry's rate limit is used up, or only the half of it is left that is kept for the nodes; it is asked again when it says so.", "pull with credentials, or from a mirror";
    RegistryCertificateInvalid, Resolved, Blocking, "The registry's certificate is not trusted; the message says what is wrong with it.", "give its certificate authority in spec.registries[].caBundle, or correct the certificate";
    RegistryUnreachable, Resolved, Blocking, "The registry cannot be reached.", "check the network policy, the DNS name and the port; plain HTTP needs spec.registries[].plainHttp";
    RegistryAnswerInvalid, Resolved, Blocking, "The registry's answer cannot be trusted or understood.", "look at the registry, or at the proxy in front of it";
    PullSecretMissing, Resolved, Blocking, "A pull secret that the Installation names cannot be read.", "create it in the operator's namespace, and name it in the controller's Role";
    PullSecretInvalid, Resolved, Blocking, "A pull secret is not a docker configuration.", "create it again with kubectl create secret docker-registry";
    PullSecretEntryInvalid, Resolved, Warning, "An entry of a pull secret cannot be read. The controller uses the other entries; a kubelet rejects the whole Secret, and pulls nothing for pods that name it.", "correct or remove the entry; kubectl create secret docker-registry makes it again";
    ClientCertificateInvalid, Resolved, Blocking, "A client certificate that the policy names is not there, or cannot be used.", "correct spec.registries[].clientCertificate or the Secret that it names: tls.crt and tls.key in PEM, the key without a password";
    CaBundleInvalid, Resolved, Blocking, "A CA bundle that the policy names is not there or is not PEM.", "correct spec.registries[].caBundle or the object that it names";

    // Applied
    ImageSetStored, Applied, Normal, "The set of the target version is stored.", "";
    ImageSetPlanned, Applied, Normal, "The set would be stored now, if the policy were in mode Apply.", "review the plan, then set spec.mode: Apply";
    ImageSetPruned, Applied, Normal, "A set of a previous version was deleted: there were more than spec.retain keeps.", "";
    ForeignImageSetAccepted, Applied, Note, "Somebody else's ImageSet has the right name and content; it is left as it is.", "";
    ForeignImageSetInvalid, Applied, Blocking, "Somebody else's ImageSet has the name that is needed, and this operator version will refuse it.", "delete it, correct it, or set spec.takeOwnership: true";
    ImageSetImpossible, Applied, Blocking, "The operator version can have no ImageSet in this cluster: it requires an image that it rejects in a set (OpenShift on AWS, v1.36 and later), or it rejects the Installation itself (fipsMode, v1.43 and later). Nothing is stored for it.", "stay on a version that can have one; or change what the message names, such as fipsMode; or run this version by tags, without any ImageSet (imageset-controller disarm)";
    OperatorKindsMissing, Applied, Blocking, "The operator's custom resource definitions are not installed yet.", "install them; work goes on by itself when they appear";
    RunningSetFirst, Applied, Blocking, "A set waits, because the set of the running version must exist before any other.", "solve what holds the running version's set";
    NothingToApply, Applied, Waiting, "No set can be named yet.", "solve what VersionKnown says";
    WriteRefused, Applied, Blocking, "The apiserver refused a write.", "the message says why; rights are in the controller's ClusterRole";
    WriteConflict, Applied, Waiting, "Somebody else changed the object at the same moment; it is looked at again.", "";

    // Prepared
    NothingToPrepare, Prepared, Normal, "prepare.versions is empty.", "";
    AllVersionsPrepared, Prepared, Normal, "Every version of prepare.versions is staged, or ready and waiting for its operator.", "";
    GateUnsupported, Prepared, Warning, "spec.gate is set, and this Kubernetes has no ValidatingAdmissionPolicy.", "use Kubernetes 1.30 or newer, or set spec.gate: Disabled";
    GateNotManaged, Prepared, Warning, "spec.gate is set, and an admission policy or binding of the gate's name exists that the controller did not create.", "delete or rename it: kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings imageset-controller-gate; or set spec.gate: Disabled";
    GlassBroken, Prepared, Warning, "An operator image passed the gate by the annotation imageset-controller.io/break-glass.", "take the annotation off when its set is stored";
    DiscoveryFailed, Prepared, Warning, "Newer operator releases could not be looked for; what was found before still counts.", "see the message; the controller needs to list the tags of the operator image's repository";
    PrepareRequestInvalid, Prepared, Warning, "A part of the annotation imageset-controller.io/prepare cannot be understood; it is not used, and everything else goes on.", "write VERSION=TIME, several with commas between them, such as v1.42.4=2026-12-01T18:00:00Z, or let imageset-controller prepare write it";
    NotPrepared, Prepared, Blocking, "A version of prepare.versions is held.", "see status.prepared and the other conditions";
    WaitingForTakeover, Prepared, Normal, "Its set has the name of the running version's set and other content; it is ready and swapped in when its operator has taken over.", "";
    SameNameConflict, Prepared, Warning, "Its set has the name of the running version's set, and each of the two operators refuses the content of the other; it is ready and swapped in when its operator has taken over.", "the gap ends by itself; an upgrade by way of a version with another Calico release has none";
    NeedsInspection, Prepared, Blocking, "The catalogue does not know this operator version, and its image has not told (yet).", "name it in spec.prepare.versions to have its image asked; or update the controller; a build of your own can know more (imageset-controller catalogue add, docs/limits.md)";

    // Adopted
    AdoptionComplete, Adopted, Normal, "The operator selected the set and every workload runs it.", "";
    RollingOut, Adopted, Waiting, "The operator selected the set; workloads are rolling.", "";
    NotSelected, Adopted, Waiting, "The operator has not selected the set.", "see OperatorDegraded";
    NoInstallation, Adopted, Normal, "There is no Installation that could adopt a set.", "";
    NothingToAdopt, Adopted, Normal, "No set is stored that could be adopted.", "";

    // Drifted
    NoDrift, Drifted, Normal, "Nothing differs from what is pinned.", "";
    ImageSetEdited, Drifted, Warning, "A set of ours was changed by somebody else.", "put wanted digests into spec.images.digests instead of editing the set";
    ImageSetAppliedElsewhere, Drifted, Warning, "A set that is to be taken over is applied by another tool, which puts its content back.", "take the set out of that tool first, without having it deleted; docs/guide/hand-made.md has how";
    RecordEdited, Drifted, Warning, "A record of resolved digests was changed by somebody else, or disagrees with the stored set; it is not used. Stored digests stay, and the registry is asked for what the record should hold.", "find out who changed the ConfigMap (metadata.managedFields) and stop it; where the record is of no wanted set, delete the ConfigMap";
    TagMoved, Drifted, Warning, "A tag resolves to another digest than the pinned one.", "find out why; spec.tagMoved: Repin stores the new digest in a set of ours, any other is changed where it is kept";
    TagGone, Drifted, Warning, "A tag of a pinned image is gone from the registry; as far as is known the pinned digest is still served.", "nothing breaks now; push the tag again before the registry collects what no tag names";
    DigestGone, Drifted, Warning, "The registry no longer serves a pinned digest.", "push or mirror it again: nodes that do not have it cannot pull it";
    ImageSetOutdated, Drifted, Warning, "A stored set holds other content than its operator version, registry or FIPS mode wants.", "see Applied for what holds the new content; in mode Observe, review the plan and set spec.mode: Apply";
    FipsMismatch, Drifted, Warning, "Installation.spec.fipsMode says one thing and the set pins the images of the other: they run without a word.", "have the set made for this fipsMode: delete somebody else's set or set spec.takeOwnership: true; ours is made anew in mode Apply";
    RequiredImageMissing, Drifted, Warning, "A stored set lacks an image that the operator insists on for the objects in the cluster.", "make the set anew for this operator version; see Resolved where the registry lacks the image";
    FeatureImageMissing, Drifted, Note, "A stored set lacks an image that the operator will insist on when a feature is enabled.", "before the feature is enabled: push the image, take it out of spec.images.exclude, and see status.current.omitted";
    BlockingImageSet, Drifted, Warning, "An ImageSet exists that makes the operator stop: the exact one is missing, or this operator can use none.", "delete it, or let the exact one be stored";
    ImageSetWillBlock, Drifted, Warning, "The stored sets will make an operator version that is to come stop, because its own set is not stored.", "solve what holds its set before the upgrade; see status.prepared";
    StrayImageSet, Drifted, Note, "An ImageSet has a name that no operator version of this variant looks for.", "delete it, or correct its name: an operator before v1.34.2 stops at any name, and a later one at any that starts like its own, when its own set is missing";
    WorkloadNotPinned, Drifted, Warning, "A workload's template does not name the pinned digests, although the operator has selected the set.", "see whether the operator runs and is not Degraded; it rewrites the template by itself";
    PodsRunOther, Drifted, Warning, "Pods run another digest than the one that their template pins.", "look at the nodes' container runtime and at whatever changes images between registry and node";
    PodDigestsUnknown, Drifted, Note, "The container runtime does not tell the repository digest of what runs (preloaded images, CRI-O): it cannot be compared.", "";
    InstallationDiffers, Drifted, Warning, "The Installation differs from spec.installation, from which the first set was made; the Installation wins.", "make spec.installation agree with the Installation";
    InstallationGone, Drifted, Warning, "There is no Installation, and stored sets were made from other settings than spec.installation has; nothing is changed.", "put the Installation back; where there never was one, delete the set to have it made from spec.installation";
    RecheckFailed, Drifted, Warning, "The pinned digests are due for a check and the registry could not be asked.", "see the message; nothing pinned changes";

    // OperatorDegraded
    NotDegraded, OperatorDegraded, Normal, "No TigeraStatus says Degraded.", "";
    ImageSetRefused, OperatorDegraded, Warning, "The operator refuses a set of ours that is right for its version, as a vendor's build under an upstream tag may do.", "its image is asked and the set made anew by its own word; if that does not help, name the image by a tag of its own in the Deployment";
    OmittedImageRequired, OperatorDegraded, Warning, "The operator requires an image that its set leaves out (spec.images.exclude, or OmitUnneeded and the registry lacks it), although nothing in the cluster is known to need it. It refuses the set.", "remove the image from spec.images.exclude, or push it; and report it with the message: what the controller knows of this operator version is wrong";
    ExactImageSetMissing, OperatorDegraded, Warning, "The operator stops: there are ImageSets, and none has the name that it wants.", "have the set that it names stored (see Applied and Prepared), or delete all ImageSets to go back to tags";
    UnexpectedImages, OperatorDegraded, Warning, "The operator refuses a set because it lists names that this operator version does not know.", "take these entries out, or have the set made anew for this version";
    ImagesNotListed, OperatorDegraded, Warning, "The operator refuses a set because it lacks images that a component needs; a list made for another version, or by the documented script.", "have the set made anew for this version; the message can hide more names";
    DigestsMalformed, OperatorDegraded, Warning, "The operator refuses a set because a digest does not start with sha256:.", "have the set made anew";
    PodsCannotPull, OperatorDegraded, Warning, "The operator says that a pod cannot pull its image; it names the pod and never the entry.", "see ImagePullFailing, which names the entry and what the registry answered";
    DegradedUnexplained, OperatorDegraded, Warning, "A TigeraStatus says Degraded, and names images or ImageSets in words that are not known here.", "read its message; kubectl describe tigerastatus";
    ComponentKindsMissing, OperatorDegraded, Warning, "The API server does not have kinds that the operator needs.", "wait for TigeraStatus apiserver where they are of projectcalico.org/v3; else install the definitions of the operator's own release";
    OperatorForbidden, OperatorDegraded, Warning, "The API server denies the operator a request.", "install the ClusterRoles of the operator's own release; they come with its manifest or chart";
    AdmissionRefused, OperatorDegraded, Warning, "An admission webhook, an admission policy, Pod Security or a quota refuses what the operator writes.", "the message names what refuses: repair it, or exempt the operator's namespaces there";
    InstallationInvalid, OperatorDegraded, Warning, "The operator refuses a setting of the Installation or of another of its objects.", "correct the field that the message names";
    KubernetesApiGone, OperatorDegraded, Warning, "The operator asks for a version of a Kubernetes API that this Kubernetes no longer has.", "use an operator release that supports this Kubernetes version";
    ClusterCertificateInvalid, OperatorDegraded, Warning, "A certificate in the cluster is missing, expired, or not trusted.", "renew or delete the certificate's Secret that the message names; the operator makes its own again";
    DatastoreUnavailable, OperatorDegraded, Warning, "The Kubernetes API server, etcd or Calico's datastore does not answer, or refuses Calico's components.", "check the API server and the network between it and the component that the message names";
    PodsCrashing, OperatorDegraded, Warning, "Pods have their image and crash, end, or do not get ready.", "read the log of the container: kubectl -n calico-system logs POD -c CONTAINER --previous; exec format error in it is ExecFormatError";
    PodsPending, OperatorDegraded, Warning, "Pods are not scheduled, or their containers are not created yet.", "see the events of the pod: kubectl describe pod; a registry that never answers a node shows no other symptom";
    OperatorWaiting, OperatorDegraded, Warning, "The operator waits for another object or component.", "see what the message names: kubectl get tigerastatus";
    ComponentDegraded, OperatorDegraded, Warning, "A TigeraStatus says Degraded in words that name neither images nor ImageSets.", "read its message; kubectl describe tigerastatus";

    // ImagePullFailing
    NoPullFailure, ImagePullFailing, Normal, "Every pod that runs pinned images could pull them.", "";
    PullNotFound, ImagePullFailing, Warning, "The registry does not have the pinned digest for a node: digest of another registry, single-platform copy, garbage-collected, or not yet in a pull-through cache.", "compare the digest with the tag in that registry (imageset-controller refresh does); warm a cache by pulling the tag";
    PullUnauthorized, ImagePullFailing, Warning, "The registry refuses the node's credentials for a pinned image.", "check the Installation's imagePullSecrets and that the secrets are in the pod's namespace and still valid";
    PullPlatformMissing, ImagePullFailing, Warning, "A pinned image has nothing for the platform of a node.", "mirror the whole index (crane copy, skopeo copy --all) and have the set made anew";
    PullRateLimited, ImagePullFailing, Warning, "The registry's rate limit for nodes is used up.", "pull with credentials, or from a mirror; kubelets try again by themselves";
    PullRefused, ImagePullFailing, Warning, "A policy of the registry or of the node refuses a pinned image, whatever the credentials.", "ask the registry why: imageset-controller verify shows its words; exempt the image there, or push one that passes";
    PullRegistryFailing, ImagePullFailing, Warning, "The registry, its token service or the proxy in front of it fails: it answers with a 5xx, or breaks off.", "look at the registry's own log; kubelets try again by themselves";
    PullContentInvalid, ImagePullFailing, Warning, "Something between node and registry serves other bytes than the pinned digest names: a proxy's page, or a broken cache.", "pull the digest on that node by hand, compare with another network, and empty the cache or exempt the registry from the proxy";
    PullLayerInvalid, ImagePullFailing, Warning, "A layer of a pinned image cannot be unpacked: a broken push or mirror.", "push or mirror the image again, and remove the broken copy from caches";
    PullDiskFull, ImagePullFailing, Warning, "A node has no space left for a pinned image.", "free the disk of the container runtime on that node";
    PullUntrusted, ImagePullFailing, Warning, "A node does not trust the registry's certificate, or speaks TLS to a registry that serves plain HTTP.", "give the registry's certificate authority to the container runtime of every node, or configure plain HTTP there";
    PullNameInvalid, ImagePullFailing, Warning, "The image of a pod is not a reference: registry, image path and prefix do not make one.", "correct registry, imagePath and imagePrefix of the Installation, without scheme and without slashes at the ends";
    PullNever, ImagePullFailing, Warning, "The pull policy of a workload is Never, and the node does not have the image.", "load the image on every node, or take imagePullPolicy out of the overrides";
    PullTimeout, ImagePullFailing, Warning, "A node does not reach the registry, or not in time.", "check network, DNS and proxy of the nodes";
    PullFailed, ImagePullFailing, Warning, "A pinned image cannot be pulled for a cause that is not known here.", "read the message; kubectl describe pod shows all of it";
    ExecFormatError, ImagePullFailing, Warning, "A pinned image is of another platform than its node: a platform manifest is pinned and not the index.", "pin the index: imageset-controller refresh, and mirror the whole index where there is none";
}

impl Reason {
    /// Whether the reason is about an operator image that only an inspection can identify.
    #[must_use]
    pub const fn is_about_inspection(self) -> bool {
        matches!(
            self,
            Self::InspectionRunning
                | Self::InspectionPlanned
                | Self::InspectionDisabled
                | Self::InspectionFailed
                | Self::InspectionOutputInvalid
        )
    }
}

impl Reason {
    /// Whether the reason is an ImageSet that makes the operator stop.
    #[must_use]
    pub const fn is_image_set_fault(self) -> bool {
        matches!(
            self,
            Self::ExactImageSetMissing
                | Self::UnexpectedImages
                | Self::ImagesNotListed
                | Self::DigestsMalformed
                | Self::ImageSetRefused
                | Self::OmittedImageRequired
        )
    }

    /// Whether the reason is a component that is Degraded for other causes than images.
    #[must_use]
    pub const fn is_unrelated_to_images(self) -> bool {
        matches!(
            self,
            Self::ComponentKindsMissing
                | Self::OperatorForbidden
                | Self::AdmissionRefused
                | Self::InstallationInvalid
                | Self::KubernetesApiGone
                | Self::ClusterCertificateInvalid
                | Self::DatastoreUnavailable
                | Self::PodsCrashing
                | Self::PodsPending
                | Self::OperatorWaiting
                | Self::ComponentDegraded
        )
    }

    /// Whether the reason is a failed read from the API server.
    #[must_use]
    pub const fn is_failed_read(self) -> bool {
        matches!(self, Self::ReadForbidden | Self::ReadFailed | Self::ViewForbidden | Self::ViewFailed)
    }

    /// Whether the reason is about the content of a stored set, so that writing the required content resolves it.
    #[must_use]
    pub const fn is_resolved_by_write(self) -> bool {
        matches!(
            self,
            Self::ImageSetEdited
                | Self::ImageSetOutdated
                | Self::ImageSetWillBlock
                | Self::FipsMismatch
                | Self::RequiredImageMissing
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl From<PullFailureKind> for Reason {
    fn from(kind: PullFailureKind) -> Self {
        match kind {
            PullFailureKind::NotFound => Self::PullNotFound,
            PullFailureKind::Unauthorized => Self::PullUnauthorized,
            PullFailureKind::PlatformMissing => Self::PullPlatformMissing,
            PullFailureKind::RateLimited => Self::PullRateLimited,
            PullFailureKind::Refused => Self::PullRefused,
            PullFailureKind::RegistryFailing => Self::PullRegistryFailing,
            PullFailureKind::ContentInvalid => Self::PullContentInvalid,
            PullFailureKind::LayerInvalid => Self::PullLayerInvalid,
            PullFailureKind::DiskFull => Self::PullDiskFull,
            PullFailureKind::Untrusted => Self::PullUntrusted,
            PullFailureKind::NameInvalid => Self::PullNameInvalid,
            PullFailureKind::NeverPolicy => Self::PullNever,
            PullFailureKind::Timeout => Self::PullTimeout,
            PullFailureKind::ExecFormat => Self::ExecFormatError,
            PullFailureKind::Other => Self::PullFailed,
        }
    }
}

impl From<RegistryFailureKind> for Reason {
    fn from(kind: RegistryFailureKind) -> Self {
        match kind {
            RegistryFailureKind::NotFound => Self::ImageMissing,
            RegistryFailureKind::Unauthorized
            | RegistryFailureKind::CredentialsMissing
            | RegistryFailureKind::Forbidden
            | RegistryFailureKind::CredentialsInvalid => Self::RegistryUnauthorized,
            RegistryFailureKind::RefusedByPolicy => Self::RegistryPolicyRefusal,
            RegistryFailureKind::ForeignTokenService => Self::TokenServiceForeign,
            RegistryFailureKind::RateLimited { .. } => Self::RegistryRateLimited,
            RegistryFailureKind::Tls => Self::RegistryCertificateInvalid,
            RegistryFailureKind::Unreachable | RegistryFailureKind::Timeout | RegistryFailureKind::ServerError => {
                Self::RegistryUnreachable
            }
            RegistryFailureKind::UnsupportedContent => Self::ContentUnsupported,
            RegistryFailureKind::TooLarge | RegistryFailureKind::InvalidAnswer | RegistryFailureKind::RefusedTarget => {
                Self::RegistryAnswerInvalid
            }
            RegistryFailureKind::CloudIdentityMissing => Self::CloudIdentityMissing,
            RegistryFailureKind::CloudIdentityRefused => Self::CloudIdentityRefused,
            RegistryFailureKind::CloudUnavailable { .. } => Self::CloudUnavailable,
        }
    }
}

impl From<&RegistryFailure> for Reason {
    fn from(failure: &RegistryFailure) -> Self {
        match failure.cause {
            Some(cause) if cause.is_of_token_service() => Self::TokenServiceFailing,
            Some(FailureCause::PlainHttp) => Self::RegistryWithoutTls,
            Some(FailureCause::ClientCertificateRequired) => Self::RegistryUnauthorized,
            _ => Self::from(failure.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_meaning_and_blocking_ones_a_next_step() {
        for reason in Reason::ALL {
            assert!(reason.meaning().ends_with('.'), "{reason}");
            if reason.severity() >= Severity::Warning {
                assert!(!reason.next_step().is_empty(), "{reason} has no next step");
            }
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert_eq!("ReasonOfTomorrow".parse::<Reason>(), Err(UnknownReason));
    }
}
