//! Client certificates: how this process identifies itself to a registry that asks for it in the TLS handshake.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::tls::{self, Identity};
use crate::registry::auth::credentials::Secret;

/// A certificate with its key. `Debug` does not show the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    chain_pem: Vec<u8>,
    key_pem: Secret,
}

/// A certificate or key that cannot be used. Errors quote neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientCertificate {
    /// The chain is no PEM, or empty.
    #[error("it holds no certificate in PEM")]
    NoCertificate,
    /// The key is no PEM of a supported form.
    #[error("its key is no private key in PEM (PKCS #8, PKCS #1 or SEC 1)")]
    NoKey,
    /// The key has a password.
    #[error("its key is encrypted; write it without a password: openssl pkey -in KEY -out PLAIN_KEY")]
    EncryptedKey,
    /// The key is that of another certificate, or of an algorithm that is not supported.
    #[error("its key does not belong to the certificate, or is of an algorithm that is not supported")]
    Unusable,
}

impl ClientCertificate {
    /// Returns a certificate chain and its key, both in PEM.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(chain_pem: Vec<u8>, key_pem: Secret) -> Result<Self, InvalidClientCertificate> {
        let certificate = Self { chain_pem, key_pem };
        let identity = certificate.identity()?;
        let config = tls::client_config(rustls::RootCertStore::empty(), Vec::new(), Some(identity));
        config.map_err(|_| InvalidClientCertificate::Unusable)?;
        Ok(certificate)
    }

    /// Returns the chain, for telling certificates apart.
    pub(crate) fn chain_pem(&self) -> &[u8] {
        &self.chain_pem
    }

    pub(crate) fn key(&self) -> &Secret {
        &self.key_pem
    }

    /// Returns what TLS presents.
    pub(crate) fn identity(&self) -> Result<Identity, InvalidClientCertificate> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.chain_pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(InvalidClientCertificate::NoCertificate)?;
        let key = self.key_pem.expose();
        if key.contains("ENCRYPTED") {
            return Err(InvalidClientCertificate::EncryptedKey);
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| InvalidClientCertificate::NoKey)?;
        Ok((chain, key))
    }
}
