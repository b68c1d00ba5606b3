//! What a cloud issues: a credential for a registry, and the name of the identity that it was issued to.

use std::fmt;
use std::time::Duration;

use crate::model::{CloudProvider, EcrRegistry, RegistryFailureKind};
use crate::registry::auth::credentials::Credential;
use crate::registry::error::RegistryError;
use crate::registry::http::redaction::cut;

/// Maximum length of an identity's name in messages, in bytes.
const MAX_NAME: usize = 120;

/// A credential for a registry.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub credential: Credential,
    pub identity: Identity,
    /// How long it is valid from now on.
    pub lifetime: Duration,
}

/// An identity of this process in a cloud, as messages name it. Not a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity(String);

impl Identity {
    /// Returns an identity with this name, cut and without control characters: a metadata service may have chosen it.
    pub(crate) fn new(name: &str) -> Self {
        Self(cut(name, MAX_NAME).chars().filter(|character| matches!(character, ' '..='~')).collect())
    }

    /// Returns the failure of a lookup that the registry rejected, although the cloud issued a token: the identity may not pull.
    pub(crate) fn rejected_by_registry(
        &self,
        provider: CloudProvider,
        host: &str,
        error: &RegistryError,
    ) -> RegistryError {
        let permission = match provider {
            CloudProvider::Aws if EcrRegistry::of_host(host).is_some_and(|registry| registry.is_public) => {
                "no permission to pull from the gallery: its token is not accepted"
            }
            CloudProvider::Aws => {
                "ecr:BatchGetImage for this repository; where another account has it, also in its repository policy"
            }
            CloudProvider::Gcp => "roles/artifactregistry.reader for this repository",
            CloudProvider::Azure => "the role AcrPull (or Container Registry Repository Reader) for this registry",
        };
        let text = format!("{} as {self}; it needs {permission}", error.unquoted);
        RegistryError { of_token_service: error.of_token_service, ..rejected(text).of_this_image() }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Returns the error for a process without an identity.
pub(crate) fn missing(text: impl Into<String>) -> RegistryError {
    RegistryError::new(RegistryFailureKind::CloudIdentityMissing, text)
}

/// Returns the error for an identity that is rejected.
pub(crate) fn rejected(text: impl Into<String>) -> RegistryError {
    RegistryError::new(RegistryFailureKind::CloudIdentityRefused, text)
}
