//! Causes of failed lookups that their kind does not show, each with what explains it to the person who has to change something.

use serde::{Deserialize, Serialize};

/// Why a lookup failed, beyond its kind. The list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureCause {
    /// The registry's token service fails: no connection, no trust, an error of its own, or a response without a token.
    TokenServiceFailing,
    /// The registry names its token service by an address that no client should use: without TLS, an inner name, or no address.
    TokenServiceAddress,
    /// The port was asked with TLS and answers without.
    PlainHttp,
    /// The port was asked without TLS and answers with TLS.
    SpeaksTls,
    /// The registry wants a client certificate.
    ClientCertificateRequired,
    /// `localhost` is every machine itself: what nodes reach there is not what this process reaches.
    OnlyOnNodes,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate is not valid yet.
    CertificateNotValidYet,
    /// The certificate is for other names.
    CertificateOfOtherName,
    /// The certificate has no subject alternative name.
    CertificateWithoutName,
    /// Nobody who is trusted signed the certificate.
    CertificateOfUnknownAuthority,
    /// The server's own certificate is that of an authority.
    CertificateOfAuthority,
    /// The certificate is signed with ECDSA and SHA-512, as keys of the curve P-521 do.
    CertificateWithP521,
    /// The certificate is signed with SHA-1.
    CertificateWithSha1,
    /// The certificate has a key or a signature of another algorithm that is not supported.
    CertificateAlgorithm,
    /// The certificate is not for servers.
    CertificateOfOtherPurpose,
    /// TLS found nothing that both sides support.
    NothingInCommon,
}

impl FailureCause {
    /// Whether the token service failed, not the registry.
    #[must_use]
    pub const fn is_of_token_service(self) -> bool {
        matches!(self, Self::TokenServiceFailing | Self::TokenServiceAddress)
    }

    /// Returns what explains the failure and how to end it, as the end of a sentence; empty where the kind says it all.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::TokenServiceFailing => {
                "registry and images may be fine: check the token service, and that it can be reached from here"
            }
            Self::TokenServiceAddress => {
                "correct the external address in the registry's own settings: external_url of Harbor, external_url of GitLab, \
                 auth.token.realm of distribution"
            }
            Self::PlainHttp => "the port answers without TLS",
            Self::SpeaksTls => {
                "the port answers with TLS, or with something else that is no HTTP: take plain HTTP away for this registry"
            }
            Self::ClientCertificateRequired => {
                "it requires a client certificate that it accepts: registries[].clientCertificate in the policy, --cert and --key on the command line"
            }
            Self::OnlyOnNodes => {
                "localhost is every machine itself: nodes reach a registry of their own there, a pod does not; name an address that \
                 the controller reaches as its mirror"
            }
            Self::CertificateExpired => "renew the certificate, or correct the clock of this machine",
            Self::CertificateNotValidYet => {
                "correct the clock of this machine, or that of the machine that made the certificate"
            }
            Self::CertificateOfOtherName => {
                "use one of its names for the registry, or make a certificate with the registry's name"
            }
            Self::CertificateWithoutName => {
                "the certificate has no subject alternative name, and no client reads the common name any more: make it again with \
                 -addext subjectAltName=DNS:HOST (openssl req)"
            }
            Self::CertificateOfUnknownAuthority => "no authority that is trusted here signed it",
            Self::CertificateOfAuthority => {
                "the server's own certificate is that of an authority (CA:TRUE): trust exactly this certificate by giving it as the \
                 registry's authority, or make one with -addext basicConstraints=critical,CA:FALSE (openssl req)"
            }
            Self::CertificateWithP521 => {
                "the certificate is signed by a key of P-521, or with SHA-512 by another one, which is not supported: sign it with a \
                 key of P-256, P-384 or RSA, or trust exactly the server's own certificate by giving it as the registry's authority"
            }
            Self::CertificateWithSha1 => {
                "the certificate is signed with SHA-1, which no client accepts any more: sign it with SHA-256"
            }
            Self::CertificateAlgorithm => {
                "the certificate has a key or a signature that is not supported: use P-256, P-384, Ed25519, or RSA with 2048 bits or more"
            }
            Self::CertificateOfOtherPurpose => {
                "the certificate is not for servers: make it with -addext extendedKeyUsage=serverAuth (openssl req)"
            }
            Self::NothingInCommon => {
                "registry and client support no common protocol or signature: TLS 1.2 or newer, and a key of P-256, P-384, Ed25519 or \
                 RSA is required, not P-521"
            }
        }
    }
}
