//! A TCP proxy in front of a registry that notes when the first byte of a question and the last byte of an answer went
//! through: the time that resolving took, seen from outside of the product.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Seen {
    first_request: Option<Instant>,
    last_response: Option<Instant>,
}

/// A running proxy.
pub struct Proxy {
    host: String,
    seen: Arc<Mutex<Seen>>,
}

impl Proxy {
    /// Listens on a free loopback port and passes everything on to `target`, `host:port`.
    pub async fn start(target: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target.clone(), shared.clone()));
            }
        });
        Ok(Self { host, seen })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Forgets what went through.
    pub fn forget(&self) {
        *self.seen.lock().unwrap() = Seen::default();
    }

    /// From the first question to the last answer.
    pub fn busy(&self) -> Duration {
        let seen = self.seen.lock().unwrap();
        match (seen.first_request, seen.last_response) {
            (Some(first), Some(last)) => last.saturating_duration_since(first),
            _ => Duration::ZERO,
        }
    }
}

async fn pass(client: TcpStream, target: String, seen: Arc<Mutex<Seen>>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requested = seen.clone();
    let question = move || {
        requested.lock().unwrap().first_request.get_or_insert_with(Instant::now);
    };
    let response = move || seen.lock().unwrap().last_response = Some(Instant::now());
    futures::join!(copy(from_client, to_server, question), copy(from_server, to_client, response));
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, note: impl Fn()) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        note();
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
