//! The HTTP server of the box: TLS by a certificate of the box, and connections that end with the server.

use super::certificates::ServerCertificate;
use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Shows this certificate and offers these protocols (ALPN), the best first; none: no ALPN.
///
/// # Errors
/// The certificate can't be read.
pub fn acceptor(certificate: &ServerCertificate, protocols: &[&str]) -> Result<TlsAcceptor> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A response body of any origin.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body that is there as a whole.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A running server; ends on drop, with its connections.
#[derive(Debug)]
pub struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a server on a free loopback port, as [`serve`], and returns its address.
///
/// # Errors
/// No free port.
pub async fn start<A, F, B>(acceptor: Option<TlsAcceptor>, handler: A) -> Result<(SocketAddr, Server)>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Error + Send + Sync + 'static> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok((listener.local_addr()?, serve(listener, acceptor, handler)))
}

/// Serves HTTP/1.1 and HTTP/2, through TLS if there is an acceptor.
pub fn serve<A, F, B>(listener: TcpListener, acceptor: Option<TlsAcceptor>, handler: A) -> Server
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: Error + Send + Sync + 'static> + Send + 'static,
{
    Server(tokio::spawn(async move {
        // Owned by this task, so that its end ends the connections as well.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let (acceptor, handler) = (acceptor.clone(), handler.clone());
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let response = handler(request);
                    // One kind of failure: with a boxed one the compiler loses its way in the bounds of hyper's builder.
                    async move {
                        let response = response.await.map_err(io::Error::other)?;
                        Ok::<_, io::Error>(response.map(|body| body.map_err(io::Error::other).boxed_unsync()))
                    }
                });
                let builder = Builder::new(TokioExecutor::new());
                // A client that goes away is no business of ours.
                match acceptor {
                    None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            drop(builder.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                }
            });
            while connections.try_join_next().is_some() {}
        }
    }))
}
