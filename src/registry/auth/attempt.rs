//! An attempt to authenticate, and which credentials were tried during a session.

use super::credentials::Credential;
use super::scheme::AuthScheme;
use crate::registry::error::RegistryError;
use crate::registry::http::address::AddressClass;

/// The scheme of an attempt, and how it is known.
pub(crate) struct AuthAttempt {
    pub scheme: AuthScheme,
    /// Class of the registry's address when it named the scheme.
    pub class: AddressClass,
    /// The registry named the scheme for another lookup.
    pub remembered: bool,
}

/// Which credentials the registry accepted and rejected during a session. `None` is anonymous access.
#[derive(Default)]
pub(crate) struct TriedCredentials {
    accepted: Vec<Option<Credential>>,
    rejected: Vec<(Option<Credential>, RegistryError)>,
}

impl TriedCredentials {
    /// Returns the error with which this credential was rejected.
    pub(crate) fn rejection(&self, credential: Option<&Credential>) -> Option<&RegistryError> {
        let rejected = self.rejected.iter().find(|(rejected, _)| rejected.as_ref() == credential);
        rejected.map(|(_, error)| error)
    }

    /// Notes a rejected credential, unless it was accepted before: the rejection concerns a repository then.
    pub(crate) fn note_rejected(&mut self, credential: Option<&Credential>, error: &RegistryError) {
        if self.rejection(credential).is_none() && !self.accepted.iter().any(|one| one.as_ref() == credential) {
            self.rejected.push((credential.cloned(), error.clone()));
        }
    }

    pub(crate) fn note_accepted(&mut self, credential: Option<&Credential>) {
        self.rejected.retain(|(rejected, _)| rejected.as_ref() != credential);
        if !self.accepted.iter().any(|one| one.as_ref() == credential) {
            self.accepted.push(credential.cloned());
        }
    }
}
