//! Connections through proxies: a tunnel to registries that use TLS, requests in absolute form to those that do not. `proxy` decides
//! which target is reached through which proxy. No message contains a proxy's user or password.

use std::io;
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
use tower::Service;
use zeroize::Zeroizing;

use super::connect_error::causes;
use super::proxy::{Proxies, Proxy, unreachable, unreachable_target};
use super::tls;
use crate::registry::error::Result;

/// Maximum length of the head of a response to CONNECT, in bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// Marks, in its extensions, a response that came through a proxy, whose address is not the registry's.
#[derive(Clone)]
pub(crate) struct Via {
    proxy: Arc<Proxy>,
    forwarded: bool,
}

/// Rejects the proxy's own response that requires credentials. In a tunnel all responses are the registry's.
pub(crate) fn check_proxy_response<B>(response: Response<B>, target: &str) -> Result<Response<B>> {
    match response.extensions().get::<Via>() {
        Some(via) if via.forwarded && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(via.proxy.rejection(response.status().as_u16(), target))
        }
        _ => Ok(response),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connects to targets, through their proxies where the settings name one.
#[derive(Clone)]
pub struct Connector<C> {
    direct: C,
    to_proxies: C,
    to_tls_proxies: Option<HttpsConnector<C>>,
    proxies: Arc<Proxies>,
    deadline: Duration,
}

impl<C: Clone> Connector<C> {
    /// Returns a connector. `direct` connects to targets, `to_proxies` to proxies, which may have any address. `deadline` applies to
    /// a tunnel, from the connection to the proxy's response.
    ///
    /// # Errors
    /// TLS is not available.
    pub fn new(direct: C, to_proxies: C, proxies: Arc<Proxies>, deadline: Duration) -> Result<Self, rustls::Error> {
        let to_tls_proxies = if proxies.any_uses_tls() {
            // No registry chooses the proxy: the system's authorities are trusted, and no registry's.
            let builder = HttpsConnectorBuilder::new().with_tls_config(tls::client_config(
                tls::system_authorities(),
                Vec::new(),
                None,
            )?);
            let builder = builder.https_only();
            Some(builder.enable_http1().wrap_connector(to_proxies.clone()))
        } else {
            None
        };
        Ok(Self { direct, to_proxies, to_tls_proxies, proxies, deadline })
    }
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
        let connecting: Connecting<Stream> = match self.to_tls_proxies.as_mut().filter(|_| proxy.uses_tls()) {
            Some(connector) => connector.call(proxy.address.clone()),
            None => {
                let connecting = self.to_proxies.call(proxy.address.clone());
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await.map_err(Into::into)?)) })
            }
        };
        let deadline = self.deadline;
        Box::pin(async move {
            let not_connected =
                |error: BoxError| unreachable(format!("{proxy} cannot be reached: {}", innermost(&*error)));
            let stream = connecting.await.map_err(not_connected)?;
            let forwarded = target.scheme_str() == Some("http");
            let stream = if forwarded {
                stream
            } else {
                let tunnel = tokio::time::timeout(deadline, tunnel(stream, &proxy, &target)).await;
                tunnel.map_err(|_| unreachable(format!("{proxy} did not answer within {deadline:.0?}")))??
            };
            Ok(Proxied { stream, via: Some(Via { proxy, forwarded }) })
        })
    }
}

/// Requests a tunnel to the target from the proxy. hyper-util's `Tunnel` does not report the proxy's response.
async fn tunnel(stream: Stream, proxy: &Proxy, target: &Uri) -> Result<Stream> {
    let target = format!("{}:{}", target.host().unwrap_or_default(), target.port_u16().unwrap_or(443));
    let lost = |error: io::Error| unreachable_target(&target, |target| format!("{proxy}, asked for {target}: {error}"));
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
        Some(status) => Err(proxy.rejection(status, &target)),
        None => Err(unreachable_target(&target, |target| {
            format!("{proxy}, asked for {target}, answered something that is not HTTP")
        })),
    }
}

/// Reads the head of a response, or its beginning. Byte by byte, because what follows belongs to the registry.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// Returns the status of a complete head.
pub(crate) fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.strip_suffix(b"\r\n\r\n")?.split(|byte| *byte == b'\r').next()?;
    let mut words = line.split(|byte| *byte == b' ');
    words.next().filter(|version| version.starts_with(b"HTTP/1."))?;
    let status = std::str::from_utf8(words.next()?).ok()?;
    status.parse().ok().filter(|status| (100..1000).contains(status))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// A connection to a target, or to the proxy in front of it.
pub struct Proxied {
    stream: Stream,
    via: Option<Via>,
}

impl Connection for Proxied {
    fn connected(&self) -> Connected {
        match &self.via {
            // `proxy` selects requests in absolute form.
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
