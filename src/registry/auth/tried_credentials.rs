//! Which credentials the registry accepted and rejected during a session. `None` is anonymous access.

use super::credentials::Credential;
use crate::registry::error::RegistryError;

/// Credentials that the registry accepted and rejected during one session.
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
