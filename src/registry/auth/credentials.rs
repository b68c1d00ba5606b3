//! Credentials for registries and token services. Secrets are wiped from memory and never shown by `Debug`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A text that is wiped from memory on drop and that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text itself, for the request that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A credential for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// User and password, for the registry itself or for its token service.
    Password {
        username: Secret,
        /// The password, or an access token used as one.
        password: Secret,
    },
    /// User and password that are not both text, with every byte as it is.
    Encoded {
        /// `user:password` in base64.
        pair: Secret,
        /// The password with replacement characters, as a message could quote it.
        shown: Secret,
    },
    /// A refresh token for the token service (`identitytoken`).
    IdentityToken(Secret),
    /// A token for the registry itself (`registrytoken`).
    RegistryToken(Secret),
}

impl Credential {
    /// Returns `user:password` in base64 for `Authorization: Basic`; `None` for tokens.
    pub(crate) fn basic(&self) -> Option<Secret> {
        let (username, password) = match self {
            Self::Password { username, password } => (username, password),
            Self::Encoded { pair, .. } => return Some(pair.clone()),
            Self::IdentityToken(_) | Self::RegistryToken(_) => return None,
        };
        let pair = Zeroizing::new(format!("{}:{}", username.expose(), password.expose()));
        Some(Secret::new(STANDARD.encode(pair.as_bytes())))
    }

    /// Returns every text that must never be written anywhere.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Password { password, .. } => [Some(password.clone()), self.basic()].into_iter().flatten().collect(),
            Self::Encoded { pair, shown } => vec![pair.clone(), shown.clone()],
            Self::IdentityToken(token) | Self::RegistryToken(token) => vec![token.clone()],
        }
    }
}
