//! Connections through proxies: a tunnel to registries that speak TLS, requests in absolute form to those that do not. What
//! goes through which proxy is decided in `proxy`; nothing of a proxy's user or password gets into a message.

use std::io;
use std::iter::successors;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Response, StatusCode, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower_service::Service;
use zeroize::Zeroizing;

use super::proxy::{Proxies, Proxy, ProxyFailed};
use super::transport::cause_of;

/// The longest head of an answer to CONNECT that is read, in bytes.
pub(super) const LONGEST_HEAD: usize = 16 * 1024;

/// In the extensions of each answer that came through a proxy, whose address is not the registry's.
#[derive(Clone)]
pub(super) struct Via {
    proxy: Arc<Proxy>,
    forwarded: bool,
}

/// Lets an answer pass unless it is the proxy's own that it wants credentials. In a tunnel all answers are the registry's.
pub(super) fn checked<B>(response: Response<B>, target: &str) -> Result<Response<B>, ProxyFailed> {
    match response.extensions().get::<Via>() {
        Some(via) if via.forwarded && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(via.proxy.refusal(response.status().as_u16(), target))
        }
        _ => Ok(response),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connects to targets, through their proxies where there are some.
#[derive(Clone)]
pub struct Connector<C> {
    direct: C,
    to_proxies: C,
    to_tls_proxies: Option<HttpsConnector<C>>,
    proxies: Arc<Proxies>,
    deadline: Duration,
}

impl<C: Clone> Connector<C> {
    /// `direct` connects to targets, `to_proxies` to proxies, which may be anywhere. `deadline` is for a tunnel, from the
    /// connection to the proxy's answer.
    ///
    /// # Errors
    /// TLS cannot be had at all.
    pub fn new(direct: C, to_proxies: C, proxies: Arc<Proxies>, deadline: Duration) -> Result<Self, rustls::Error> {
        let to_tls_proxies = if proxies.speak_tls() {
            let builder = HttpsConnectorBuilder::new().with_tls_config(system_tls()?).https_only();
            Some(builder.enable_http1().wrap_connector(to_proxies.clone()))
        } else {
            None
        };
        Ok(Self { direct, to_proxies, to_tls_proxies, proxies, deadline })
    }
}

/// Proxies are not chosen by registries: the system's authorities are trusted, and no registry's.
fn system_tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri, Response = TokioIo<TcpStream>> + Send + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = Proxied;
    type Error = BoxError;
    type Future = Connecting<Proxied>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let proxy = match self.proxies.to(&target) {
            Ok(Some(proxy)) => Arc::clone(proxy),
            Ok(None) => {
                let connecting = self.direct.call(target);
                return Box::pin(async move {
                    let stream = MaybeHttpsStream::Http(connecting.await.map_err(Into::into)?);
                    Ok(Proxied { stream, via: None })
                });
            }
            Err(failed) => return Box::pin(async move { Err(failed.into()) }),
        };
        let connecting: Connecting<Stream> = match self.to_tls_proxies.as_mut().filter(|_| proxy.speaks_tls()) {
            Some(connector) => connector.call(proxy.address.clone()),
            None => {
                let connecting = self.to_proxies.call(proxy.address.clone());
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await.map_err(Into::into)?)) })
            }
        };
        let deadline = self.deadline;
        Box::pin(async move {
            let unreachable =
                |error: BoxError| ProxyFailed::new(format!("{proxy} cannot be reached: {}", innermost(&*error)));
            let stream = connecting.await.map_err(unreachable)?;
            let forwarded = target.scheme_str() == Some("http");
            let stream = if forwarded {
                stream
            } else {
                let tunnel = tokio::time::timeout(deadline, tunnel(stream, &proxy, &target)).await;
                tunnel.map_err(|_| ProxyFailed::new(format!("{proxy} did not answer within {deadline:.0?}")))??
            };
            Ok(Proxied { stream, via: Some(Via { proxy, forwarded }) })
        })
    }
}

/// Asks the proxy for a tunnel to the target. hyper-util's `Tunnel` would do, but it does not tell what the proxy answered.
async fn tunnel(stream: Stream, proxy: &Proxy, target: &Uri) -> Result<Stream, ProxyFailed> {
    let target = format!("{}:{}", target.host().unwrap_or_default(), target.port_u16().unwrap_or(443));
    let lost =
        |error: io::Error| ProxyFailed::for_target(&target, |target| format!("{proxy}, asked for {target}: {error}"));
    let mut stream = TokioIo::new(stream);
    let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes());
    if let Some(authorization) = &proxy.authorization {
        for part in [b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let head = head(&mut stream).await.map_err(lost)?;
    match status_of(&head) {
        Some(200..300) => Ok(stream.into_inner()),
        Some(status) => Err(proxy.refusal(status, &target)),
        None => Err(ProxyFailed::for_target(&target, |target| {
            format!("{proxy}, asked for {target}, answered something that is not HTTP")
        })),
    }
}

/// The head of an answer, or as much of one as is read. Byte by byte, for what comes after it belongs to the registry.
pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The status in an answer's head, if that is whole.
pub(super) fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.strip_suffix(b"\r\n\r\n")?.split(|byte| *byte == b'\r').next()?;
    let mut words = line.split(|byte| *byte == b' ');
    words.next().filter(|version| version.starts_with(b"HTTP/1."))?;
    let status = std::str::from_utf8(words.next()?).ok()?;
    status.parse().ok().filter(|status| (100..1000).contains(status))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    successors(Some(error), |cause| cause_of(*cause)).last().map(ToString::to_string).unwrap_or_default()
}

/// A connection to a target, or to the proxy in front of it.
pub struct Proxied {
    stream: Stream,
    via: Option<Via>,
}

impl Connection for Proxied {
    fn connected(&self) -> Connected {
        match &self.via {
            // `proxy` asks for requests in absolute form.
            Some(via) => self.stream.connected().proxy(via.forwarded).extra(via.clone()),
            None => self.stream.connected(),
        }
    }
}

impl Read for Proxied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Proxied {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
