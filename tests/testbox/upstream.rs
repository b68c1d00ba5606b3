//! The client's side of the box: connections with TLS by an authority of the box, and the server behind a proxy.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, Uri, Version, header};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// A client for both schemes.
pub type HttpsClient<B> = Client<HttpsConnector<HttpConnector>, B>;

/// Returns a client that trusts this authority and no other. It speaks HTTP/1.1, so that a broken connection ends one request only.
///
/// # Errors
/// The PEM can't be read.
pub fn https_client<B>(authority_pem: Option<&str>) -> Result<HttpsClient<B>>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let mut roots = rustls::RootCertStore::empty();
    if let Some(pem) = authority_pem {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The server to which a proxy forwards requests. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct Upstream {
    server: String,
    client: HttpsClient<Incoming>,
}

impl Upstream {
    /// The server at this address, such as `http://127.0.0.1:5000`; for HTTPS, its certificate is of this authority.
    ///
    /// # Errors
    /// The PEM can't be read.
    pub fn new(server: impl Into<String>, authority_pem: Option<&str>) -> Result<Self> {
        Ok(Self { server: server.into(), client: https_client(authority_pem)? })
    }

    /// Forwards a request once, as a stream, and returns the response. Credentials are those of the caller.
    ///
    /// # Errors
    /// The server can't be reached, or does not speak HTTP.
    pub async fn forward(&self, request: Request<Incoming>) -> Result<Response<Incoming>> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().context("a request without a path")?;
        head.uri = format!("{}{path}", self.server).parse::<Uri>()?;
        head.version = Version::HTTP_11;
        remove_all(&mut head.headers, &[header::HOST]);
        remove_all(&mut head.headers, &HOP_BY_HOP);
        let mut response = self.client.request(Request::from_parts(head, body)).await?;
        *response.version_mut() = Version::default();
        remove_all(response.headers_mut(), &HOP_BY_HOP);
        Ok(response)
    }
}

/// Headers of one connection, which a proxy must not forward.
const HOP_BY_HOP: [HeaderName; 3] = [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];

fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}
