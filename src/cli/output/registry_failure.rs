//! Failures of registries, with next steps for a person at a terminal.

use super::Failure;
use crate::model::{Reason, RegistryFailure};

/// Returns the failure of a verb that follows from a registry's.
pub(in crate::cli) fn failure(failed: &RegistryFailure) -> Failure {
    let reason = Reason::from(failed);
    Failure::new(failed.summary()).reason(reason).hint(hint(reason))
}

/// Returns the next step, by flags where the reason names fields of the policy.
pub(in crate::cli) const fn hint(reason: Reason) -> &'static str {
    match reason {
        Reason::ImageMissing => {
            "push or mirror the image; if your cluster does not need it, leave it out with --exclude NAME"
        }
        Reason::ExcludedImageRequired => "take that --exclude away",
        Reason::LayoutInvalid => {
            "correct --registry, --image-path and --image-prefix; the registry is a host, without scheme"
        }
        Reason::RegistryUnauthorized => {
            "log in to the registry, or give its credentials with --registry-config FILE; a cloud's own registry takes an identity of \
             your environment with --provider AWS, GCP or Azure"
        }
        Reason::CloudIdentityMissing => {
            "set the variables of an identity of that cloud, or leave out --provider and log in to the registry"
        }
        Reason::RegistryCertificateInvalid => {
            "give the registry's certificate authority, or exactly its own certificate, with --ca-file FILE; or correct the certificate"
        }
        Reason::RegistryWithoutTls => "name the port with TLS; if the registry has none, give --plain-http HOST",
        Reason::TokenServiceForeign => "if that token service is meant, name its host: --token-service HOST",
        Reason::RegistryUnreachable => {
            "check the registry's name and port; a registry without TLS needs --plain-http HOST"
        }
        other => other.next_step(),
    }
}
