//! Failures of lookups in registries, and when a lookup is retried.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::failure_cause::FailureCause;
use crate::model::foreign_text::escaped;
use crate::model::reference::Reference;

/// Maximum of a `Retry-After`, in seconds. Longer values are reduced to it.
pub const LONGEST_RETRY_AFTER_SECONDS: u64 = 3600;

/// Why a reference was not resolved. The list is closed, so that findings and metrics can carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum RegistryFailureKind {
    /// The registry does not have the image.
    NotFound,
    /// The registry rejects the credentials.
    Unauthorized,
    /// The registry requires credentials, and none of the configured ones are for it.
    CredentialsMissing,
    /// The registry authenticates the controller and denies access.
    Forbidden,
    /// The registry's own policy refuses the image: a vulnerability, a missing signature, a quota. Nodes are refused as well.
    RefusedByPolicy,
    /// The registry limits the rate.
    RateLimited {
        /// `Retry-After` in seconds, at most [`LONGEST_RETRY_AFTER_SECONDS`]; `None` if the registry sent none.
        retry_after_seconds: Option<u64>,
    },
    /// No connection: refused, host not found, or connection lost.
    Unreachable,
    /// The connection is not trusted: unknown authority, wrong name, expired certificate, or no TLS.
    Tls,
    /// The registry or its token service failed (5xx).
    ServerError,
    /// The response was not complete before the deadline.
    Timeout,
    /// The response exceeds the size limit.
    TooLarge,
    /// The response contradicts itself or the protocol, so nothing in it is used.
    InvalidAnswer,
    /// The response is valid, but no node could run the content: schema 1, an artifact, only attestations.
    UnsupportedContent,
    /// A configured pull secret or CA bundle cannot be used.
    CredentialsInvalid,
    /// The registry redirects credentials to a token service outside its own domain.
    ForeignTokenService,
    /// The registry redirects to an address, host or scheme that is not allowed.
    RefusedTarget,
    /// The registry takes tokens of a cloud, and this process has no identity there.
    CloudIdentityMissing,
    /// The cloud, or its registry, rejects the identity of this process.
    CloudIdentityRefused,
    /// A service that issues tokens of the cloud cannot be reached, limits the rate or fails.
    CloudUnavailable {
        /// `Retry-After` in seconds, at most [`LONGEST_RETRY_AFTER_SECONDS`]; `None` if the service sent none.
        retry_after_seconds: Option<u64>,
    },
}

/// When a failed lookup is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Only after a person changed something, or at the next regular check.
    WhenChanged,
    /// Soon, with growing pauses.
    Backoff,
    /// Not before this time has passed.
    After(Duration),
}

impl RegistryFailureKind {
    /// Returns when the lookup is retried.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self {
            Self::RateLimited { retry_after_seconds: Some(seconds) }
            | Self::CloudUnavailable { retry_after_seconds: Some(seconds) } => {
                Retry::After(Duration::from_secs(seconds))
            }
            Self::RateLimited { retry_after_seconds: None }
            | Self::CloudUnavailable { retry_after_seconds: None }
            | Self::Unreachable
            | Self::Tls
            | Self::ServerError
            | Self::Timeout => Retry::Backoff,
            Self::NotFound
            | Self::Unauthorized
            | Self::CredentialsMissing
            | Self::Forbidden
            | Self::RefusedByPolicy
            | Self::TooLarge
            | Self::InvalidAnswer
            | Self::UnsupportedContent
            | Self::CredentialsInvalid
            | Self::ForeignTokenService
            | Self::RefusedTarget
            | Self::CloudIdentityMissing
            | Self::CloudIdentityRefused => Retry::WhenChanged,
        }
    }

    /// Whether every other image of the same registry must fail in the same way, so that further lookups are pointless.
    #[must_use]
    pub const fn concerns_whole_registry(self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::Unreachable
                | Self::Tls
                | Self::Timeout
                | Self::CredentialsInvalid
                | Self::CloudIdentityMissing
                | Self::CloudIdentityRefused
                | Self::CloudUnavailable { .. }
        )
    }

    /// Returns a constant name for metrics and reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::Unauthorized => "Unauthorized",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::Forbidden => "Forbidden",
            Self::RefusedByPolicy => "RefusedByPolicy",
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
            Self::CloudIdentityMissing => "CloudIdentityMissing",
            Self::CloudIdentityRefused => "CloudIdentityRefused",
            Self::CloudUnavailable { .. } => "CloudUnavailable",
        }
    }

    /// Returns what a person can do about it.
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
            Self::RefusedByPolicy => {
                "have the image allowed by the registry's policy, or raise its quota: nodes are refused as well"
            }
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
            Self::CloudIdentityMissing => {
                "give the controller's service account an identity of the cloud, or set registries[].provider: Generic"
            }
            Self::CloudIdentityRefused => "grant the named identity the permission that the message names",
            Self::CloudUnavailable { .. } => {
                "nothing if it passes; else check that the controller can reach this service: network policy, proxy"
            }
        }
    }
}

/// A reference that was not resolved, described for the person on call. Contains no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub struct RegistryFailure {
    /// Kind of failure.
    pub kind: RegistryFailureKind,
    /// The reference that was looked up; `None` if the failure concerns the whole registry.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<Reference>,
    /// Host and port of the registry that responded; differs from the reference's where a mirror is configured.
    pub registry: String,
    /// Response of the registry, escaped and cut.
    #[serde(rename = "answer")]
    pub response: String,
    /// What to do.
    pub advice: String,
    /// What the kind alone does not show.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<FailureCause>,
    /// Host of the token service that the failure is about, escaped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token_service: Option<String>,
}

impl RegistryFailure {
    /// Returns a failure with the advice of its kind. `response` is escaped and cut here.
    #[must_use]
    pub fn new(kind: RegistryFailureKind, reference: Option<Reference>, registry: &str, response: &str) -> Self {
        Self {
            kind,
            reference,
            registry: escaped(registry),
            response: escaped(response),
            advice: kind.advice().to_owned(),
            cause: None,
            token_service: None,
        }
    }

    /// Returns the same failure with what its kind does not show. `token_service` is escaped here.
    #[must_use]
    pub fn because(self, cause: Option<FailureCause>, token_service: Option<&str>) -> Self {
        let advice = cause.map(FailureCause::explanation).filter(|explanation| !explanation.is_empty());
        let advice = advice.map_or(self.advice, str::to_owned);
        Self { advice, cause, token_service: token_service.map(escaped), ..self }
    }

    /// Returns what happened, without the advice: for findings, whose reason has a next step of its own.
    #[must_use]
    pub fn summary(&self) -> String {
        Summary(self).to_string()
    }

    /// Returns when the lookup is retried.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        self.kind.retry()
    }

    /// Whether the registry responded that it does not have the image.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self.kind, RegistryFailureKind::NotFound)
    }
}

impl fmt::Display for RegistryFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With a cause, the summary has the advice.
        match self.cause {
            Some(_) => Summary(self).fmt(formatter),
            None => write!(formatter, "{}; {}", self.summary(), self.advice),
        }
    }
}

/// A failure without its advice.
pub(crate) struct Summary<'a>(&'a RegistryFailure);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.0;
        match &failure.reference {
            Some(reference) => write!(formatter, "{reference}: ")?,
            None => write!(formatter, "images of {}: ", failure.registry)?,
        }
        let registry = &failure.registry;
        if failure.cause.is_some_and(FailureCause::is_of_token_service) {
            let host = failure.token_service.as_ref().map(|host| format!(" {host}")).unwrap_or_default();
            let what = match failure.cause {
                Some(FailureCause::TokenServiceFailing) => "fails",
                _ => "has an address that cannot be used",
            };
            write!(formatter, "the token service{host} of registry {registry} {what}")?;
            return self.end(formatter);
        }
        match failure.kind {
            RegistryFailureKind::NotFound => write!(formatter, "registry {registry} does not have it")?,
            RegistryFailureKind::Unauthorized => write!(formatter, "registry {registry} does not let us in")?,
            RegistryFailureKind::CredentialsMissing => {
                write!(formatter, "registry {registry} wants credentials and nothing that we have names it")?;
            }
            RegistryFailureKind::Forbidden => write!(formatter, "registry {registry} forbids it")?,
            RegistryFailureKind::RefusedByPolicy => {
                write!(formatter, "registry {registry} has it and refuses it by its own policy, for nodes as well")?;
            }
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
                write!(
                    formatter,
                    "registry {registry} wants its credentials sent to a token service of another domain"
                )?;
            }
            RegistryFailureKind::RefusedTarget => write!(formatter, "registry {registry} sends us where we do not go")?,
            RegistryFailureKind::CloudIdentityMissing => {
                write!(
                    formatter,
                    "registry {registry} needs a token of its cloud, and there is no identity to get one"
                )?;
            }
            RegistryFailureKind::CloudIdentityRefused => {
                write!(formatter, "registry {registry} is not open to the identity in the cloud")?;
            }
            RegistryFailureKind::CloudUnavailable { .. } => {
                write!(formatter, "the cloud of registry {registry} issues no token")?;
            }
        }
        self.end(formatter)
    }
}

impl Summary<'_> {
    /// Writes the response, and what explains it.
    fn end(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.response.is_empty() {
            write!(formatter, " ({})", self.0.response)?;
        }
        let explanation = self.0.cause.map(FailureCause::explanation).unwrap_or_default();
        if explanation.is_empty() { Ok(()) } else { write!(formatter, ": {explanation}") }
    }
}
