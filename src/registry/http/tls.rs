//! TLS settings of all connections to registries and proxies.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

/// Returns the certificate authorities that the system trusts.
pub(crate) fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Returns a client that trusts these authorities.
pub(crate) fn client_config(authorities: impl Into<Arc<RootCertStore>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(authorities).with_no_client_auth();
    // It would keep tickets and certificates of hundreds of hosts.
    config.resumption = Resumption::disabled();
    Ok(config)
}
