//! A private certificate authority and one server certificate for the loopback address.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// PEM texts for one server on `127.0.0.1`, `::1` and `localhost`, signed by an authority that nobody else knows.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// The authority's certificate: what a client has to trust.
    pub authority_pem: String,
    /// The server's certificate.
    pub certificate_pem: String,
    /// The server's private key (PKCS #8).
    pub key_pem: String,
}

impl ServerCertificate {
    /// A new authority with the given common name and a certificate of it.
    pub fn create(authority: &str) -> Result<Self> {
        Self::create_with(authority, &["127.0.0.1", "::1", "localhost"], |_| {})
    }

    /// The same for a server with these names, and with what `change` does to its certificate.
    pub fn create_with(authority: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Result<Self> {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        ca.distinguished_name.push(DnType::CommonName, authority);
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;

        let mut server = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        server.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or_default());
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut server);
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;
        Ok(Self {
            authority_pem: ca_certificate.pem(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}
