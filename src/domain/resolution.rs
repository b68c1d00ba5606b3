//! What a registry said of an image: which bytes a reference stands for, or why that could not be found out. Pure values
//! with words for the person on call; how they are obtained is the `registry` module's business.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::foreign_text::escaped;
use super::{Digest, ImageName, Platform, Reference};

/// The longest wait that a registry may ask of us with `Retry-After`, in seconds. Longer ones are cut to it.
pub const LONGEST_RETRY_AFTER_SECONDS: u64 = 3600;

/// A reference and the bytes that the registry served for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedImage {
    /// The reference as it was asked for.
    pub reference: Reference,
    /// The SHA-256 of the bytes that were received, never a header's word.
    pub digest: Digest,
    /// Media type of those bytes.
    pub media_type: String,
    /// What these bytes describe.
    pub content: Content,
    /// Their length in bytes.
    pub size: u64,
}

/// What the bytes of a manifest describe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// An index (or Docker manifest list): one image per platform. Attestations are left out.
    Index {
        /// The images for platforms, in order of platform.
        children: Vec<Child>,
    },
    /// A single image.
    Manifest {
        /// The one platform that it runs on, as its configuration says.
        platform: Platform,
    },
}

/// An entry of an index: the image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// What it runs on.
    pub platform: Platform,
    /// The digest of its manifest, which a node of that platform pulls.
    pub digest: Digest,
    /// Whether the registry has that manifest.
    #[serde(default, skip_serializing_if = "Presence::is_unasked")]
    pub presence: Presence,
}

/// Whether a registry has what its index lists. Sparse mirrors and pull-through caches often do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// Nobody asked: no node needed it.
    #[default]
    Unasked,
    /// It is there.
    Present,
    /// It is not there.
    Absent,
}

impl Presence {
    // serde hands over a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_unasked(&self) -> bool {
        *self == Self::Unasked
    }
}

/// How an image serves a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// The node can run it, and its manifest is there.
    Covered,
    /// The node could run it; whether its manifest is there was not asked.
    Unasked,
    /// The index lists an image for the node that the registry does not have.
    Absent,
    /// There is no image for the node.
    None,
}

impl ResolvedImage {
    /// The platforms that have an image, each once.
    #[must_use]
    pub fn platforms(&self) -> BTreeSet<&Platform> {
        match &self.content {
            Content::Index { children } => children.iter().map(|child| &child.platform).collect(),
            Content::Manifest { platform } => BTreeSet::from([platform]),
        }
    }

    /// How the image serves a node of this platform. Where several entries would do, as with CPU variants, one that is
    /// there is enough.
    #[must_use]
    pub fn coverage(&self, node: &Platform) -> Coverage {
        let children = match &self.content {
            Content::Manifest { platform } if platform.runs_on(node) => return Coverage::Covered,
            Content::Manifest { .. } => return Coverage::None,
            Content::Index { children } => children.iter().filter(|child| child.platform.runs_on(node)),
        };
        let mut best = Coverage::None;
        for child in children {
            match child.presence {
                Presence::Present => return Coverage::Covered,
                Presence::Unasked => best = Coverage::Unasked,
                Presence::Absent if best == Coverage::None => best = Coverage::Absent,
                Presence::Absent => {}
            }
        }
        best
    }

    /// The nodes' platforms that an image of this name should run on and cannot: Windows images are for Windows nodes, all others
    /// for the rest.
    pub fn uncovered<'a>(&self, name: &ImageName, nodes: impl IntoIterator<Item = &'a Platform>) -> Vec<&'a Platform> {
        let lacks = |node: &&Platform| matches!(self.coverage(node), Coverage::None | Coverage::Absent);
        nodes.into_iter().filter(|node| node.is_windows() == name.is_windows()).filter(lacks).collect()
    }

    /// What it lacks for these platforms, in words.
    pub fn lacks(&self, reference: &Reference, platforms: &[&Platform]) -> Vec<String> {
        let texts = |platforms: &[&Platform]| platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (absent, none): (Vec<&Platform>, Vec<&Platform>) =
            platforms.iter().partition(|node| self.coverage(node) == Coverage::Absent);
        let mut told = Vec::new();
        if !absent.is_empty() {
            told.push(format!("{reference} lists {}, but the registry does not have that manifest", texts(&absent)));
        }
        if !none.is_empty() {
            let has: Vec<&Platform> = self.platforms().into_iter().collect();
            told.push(format!("{reference} has no manifest for {} (it has {})", texts(&none), texts(&has)));
        }
        told
    }

    /// Whether the digest names an index, which lets every node pick its own image.
    #[must_use]
    pub const fn is_index(&self) -> bool {
        matches!(self.content, Content::Index { .. })
    }
}

/// Why a reference was not resolved. Closed, so that findings and metrics can carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum RegistryFailureKind {
    /// The registry does not have the image.
    NotFound,
    /// The registry does not take the credentials that it got.
    Unauthorized,
    /// The registry wants credentials, and nothing that we were given names it.
    CredentialsMissing,
    /// The registry knows us and refuses.
    Forbidden,
    /// The registry asks to be asked later.
    RateLimited {
        /// How long it wants to be left alone, in seconds, cut to [`LONGEST_RETRY_AFTER_SECONDS`]; `None` if it did not say.
        retry_after_seconds: Option<u64>,
    },
    /// No connection: refused, no such host, connection lost.
    Unreachable,
    /// The connection is not trusted: unknown authority, wrong name, expired certificate, no TLS spoken.
    Tls,
    /// The registry or its token service failed (5xx).
    ServerError,
    /// No whole answer within the deadline.
    Timeout,
    /// The answer is longer than anything that we read.
    TooLarge,
    /// The answer contradicts itself or the protocol; nothing in it is believed.
    InvalidAnswer,
    /// A valid answer that no node could run: schema 1, an artifact, only attestations.
    UnsupportedContent,
    /// Our side: a pull secret or CA bundle cannot be used as it is.
    CredentialsInvalid,
    /// The registry sends us, with credentials, to a token service of somebody else.
    ForeignTokenService,
    /// The registry sends us to an address, host or scheme that it has no business with.
    RefusedTarget,
}

/// When it makes sense to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Only after something was changed by a person (or at the next regular check).
    WhenChanged,
    /// Soon, with growing pauses.
    Backoff,
    /// Not before this time has passed.
    After(Duration),
}

impl RegistryFailureKind {
    /// When it makes sense to ask again.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self {
            Self::RateLimited { retry_after_seconds: Some(seconds) } => Retry::After(Duration::from_secs(seconds)),
            Self::RateLimited { retry_after_seconds: None }
            | Self::Unreachable
            | Self::Tls
            | Self::ServerError
            | Self::Timeout => Retry::Backoff,
            Self::NotFound
            | Self::Unauthorized
            | Self::CredentialsMissing
            | Self::Forbidden
            | Self::TooLarge
            | Self::InvalidAnswer
            | Self::UnsupportedContent
            | Self::CredentialsInvalid
            | Self::ForeignTokenService
            | Self::RefusedTarget => Retry::WhenChanged,
        }
    }

    /// Whether every other image of the same registry must meet the same failure, so that asking on is pointless.
    #[must_use]
    pub const fn concerns_whole_registry(self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::Unreachable | Self::Tls | Self::Timeout | Self::CredentialsInvalid
        )
    }

    /// A constant word for metrics and reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::Unauthorized => "Unauthorized",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::Forbidden => "Forbidden",
            Self::RateLimited { .. } => "RateLimited",
            Self::Unreachable => "Unreachable",
            Self::Tls => "Tls",
            Self::ServerError => "ServerError",
            Self::Timeout => "Timeout",
            Self::TooLarge => "TooLarge",
            Self::InvalidAnswer => "InvalidAnswer",
            Self::UnsupportedContent => "UnsupportedContent",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::ForeignTokenService => "ForeignTokenService",
            Self::RefusedTarget => "RefusedTarget",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NotFound => {
                "push or mirror this image there, or correct registry, imagePath and imagePrefix of the Installation"
            }
            Self::Unauthorized => "check the pull secrets named in the Installation's imagePullSecrets",
            Self::CredentialsMissing => {
                "name a pull secret for this registry in the Installation, or registries[].credentials in the policy where \
                 nodes use a credential provider"
            }
            Self::Forbidden => "grant the account of the pull secret the right to pull this repository",
            Self::RateLimited { .. } => {
                "nothing; it is asked again later, or use a pull secret or a mirror with a higher limit"
            }
            Self::Unreachable => "check that the controller can reach the registry: name, port, network policy, proxy",
            Self::Tls => "name the registry's authority in registries[].caBundle, or plainHttp if it speaks no TLS",
            Self::ServerError => "nothing if it passes; else look at the registry's own logs",
            Self::Timeout => "check the network between the controller and the registry, and the registry's load",
            Self::TooLarge => "check that the reference names an image; no manifest is that long",
            Self::InvalidAnswer => "check what answers at this address: a proxy, a login page or a broken mirror",
            Self::UnsupportedContent => {
                "push the image again as an OCI or Docker (schema 2) image for the nodes' platforms"
            }
            Self::CredentialsInvalid => "correct the named secret or CA bundle",
            Self::ForeignTokenService => "if this token service is meant, name it in registries[].tokenService",
            Self::RefusedTarget => {
                "check the registry's redirects and token realm; https and the registry's network only"
            }
        }
    }
}

/// A reference that was not resolved, in words for the person on call. Carries no byte of any credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub struct RegistryFailure {
    /// What went wrong.
    pub kind: RegistryFailureKind,
    /// The reference that was asked for; `None` where the whole registry is concerned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<Reference>,
    /// Host and port that was asked; differs from the reference's where a mirror is set.
    pub registry: String,
    /// What it answered, escaped and cut.
    pub answer: String,
    /// What to do.
    pub advice: String,
}

impl RegistryFailure {
    /// A failure with the kind's own advice. `answer` is escaped and cut here.
    #[must_use]
    pub fn new(kind: RegistryFailureKind, reference: Option<Reference>, registry: &str, answer: &str) -> Self {
        Self { kind, reference, registry: escaped(registry), answer: escaped(answer), advice: kind.advice().to_owned() }
    }

    /// What happened, without the advice: for findings, whose reason has a next step of its own.
    #[must_use]
    pub fn summary(&self) -> String {
        Summary(self).to_string()
    }

    /// When it makes sense to ask again.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.kind.retry()
    }
}

impl fmt::Display for RegistryFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.summary(), self.advice)
    }
}

/// A failure without its advice.
struct Summary<'a>(&'a RegistryFailure);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.0;
        match &failure.reference {
            Some(reference) => write!(formatter, "{reference}: ")?,
            None => write!(formatter, "images of {}: ", failure.registry)?,
        }
        let registry = &failure.registry;
        match failure.kind {
            RegistryFailureKind::NotFound => write!(formatter, "registry {registry} does not have it")?,
            RegistryFailureKind::Unauthorized => write!(formatter, "registry {registry} does not let us in")?,
            RegistryFailureKind::CredentialsMissing => {
                write!(formatter, "registry {registry} wants credentials and nothing that we have names it")?;
            }
            RegistryFailureKind::Forbidden => write!(formatter, "registry {registry} forbids it")?,
            RegistryFailureKind::RateLimited { retry_after_seconds: Some(seconds) } => {
                write!(formatter, "registry {registry} limits the rate and asks to wait {seconds} s")?;
            }
            RegistryFailureKind::RateLimited { retry_after_seconds: None } => {
                write!(formatter, "registry {registry} limits the rate")?;
            }
            RegistryFailureKind::Unreachable => write!(formatter, "registry {registry} cannot be reached")?,
            RegistryFailureKind::Tls => write!(formatter, "registry {registry} is not trusted")?,
            RegistryFailureKind::ServerError => write!(formatter, "registry {registry} failed")?,
            RegistryFailureKind::Timeout => write!(formatter, "registry {registry} did not answer in time")?,
            RegistryFailureKind::TooLarge => write!(formatter, "registry {registry} answered too much")?,
            RegistryFailureKind::InvalidAnswer => {
                write!(formatter, "registry {registry} answered what cannot be believed")?
            }
            RegistryFailureKind::UnsupportedContent => {
                write!(formatter, "registry {registry} has something there that no node can run")?;
            }
            RegistryFailureKind::CredentialsInvalid => write!(formatter, "our settings for {registry} cannot be used")?,
            RegistryFailureKind::ForeignTokenService => {
                write!(formatter, "registry {registry} wants its credentials sent to somebody else")?;
            }
            RegistryFailureKind::RefusedTarget => write!(formatter, "registry {registry} sends us where we do not go")?,
        }
        if !failure.answer.is_empty() {
            write!(formatter, " ({})", failure.answer)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(content: Content) -> ResolvedImage {
        ResolvedImage {
            reference: "quay.io/calico/node:v3.32.1".parse().unwrap(),
            digest: Digest::of(b"x"),
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            content,
            size: 1,
        }
    }

    #[test]
    fn an_index_covers_what_it_lists_and_a_manifest_its_one_platform() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let child = |text: &str, presence| Child { platform: platform(text), digest: Digest::of(b"y"), presence };
        let index = image(Content::Index {
            children: vec![
                child("linux/amd64", Presence::Unasked),
                child("linux/arm/v6", Presence::Absent),
                child("linux/arm/v7", Presence::Present),
                child("linux/arm64", Presence::Absent),
            ],
        });
        let single = image(Content::Manifest { platform: platform("linux/amd64") });
        for (node, of_index, of_single) in [
            ("linux/amd64", Coverage::Unasked, Coverage::Covered),
            ("linux/arm", Coverage::Covered, Coverage::None),
            ("linux/arm64", Coverage::Absent, Coverage::None),
            ("linux/s390x", Coverage::None, Coverage::None),
        ] {
            let node = platform(node);
            assert_eq!((index.coverage(&node), single.coverage(&node)), (of_index, of_single), "{node}");
        }
        assert!(index.is_index() && !single.is_index());
    }

    #[test]
    fn values_read_back() {
        let resolved = image(Content::Manifest { platform: Platform::new("linux", "amd64") });
        let text = serde_json::to_string(&resolved).unwrap();
        assert_eq!(serde_json::from_str::<ResolvedImage>(&text).unwrap(), resolved);
        for kind in [RegistryFailureKind::RateLimited { retry_after_seconds: Some(7) }, RegistryFailureKind::NotFound] {
            let failure = RegistryFailure::new(kind, Some(resolved.reference.clone()), "quay.io", "no");
            let text = serde_json::to_string(&failure).unwrap();
            assert_eq!(serde_json::from_str::<RegistryFailure>(&text).unwrap(), failure);
        }
    }

    #[test]
    fn a_failure_tells_reference_registry_answer_and_advice() {
        let reference = "docker.io/calico/node:v3.32.1".parse().unwrap();
        let failure = RegistryFailure::new(
            RegistryFailureKind::NotFound,
            Some(reference),
            "mirror.example",
            "404 MANIFEST_UNKNOWN",
        );
        assert_eq!(
            failure.to_string(),
            "docker.io/calico/node:v3.32.1: registry mirror.example does not have it (404 MANIFEST_UNKNOWN); push or \
             mirror this image there, or correct registry, imagePath and imagePrefix of the Installation"
        );
    }

    #[test]
    fn a_wait_is_honoured() {
        let kind = RegistryFailureKind::RateLimited { retry_after_seconds: Some(7) };
        assert_eq!(kind.retry(), Retry::After(Duration::from_secs(7)));
        assert_eq!(RegistryFailureKind::ServerError.retry(), Retry::Backoff);
        assert_eq!(RegistryFailureKind::NotFound.retry(), Retry::WhenChanged);
    }
}
