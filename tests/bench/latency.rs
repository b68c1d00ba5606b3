//! A TCP proxy that makes a registry far away: every chunk of bytes comes out half a round trip after it went in, in order
//! and without loss of bandwidth, and a new connection costs one whole round trip before its first byte goes on, as TCP's
//! handshake does (which no proxy can delay: the kernel answers it). TCP's slow start is not played: over a real line the
//! answers to a cold resolve of 23 images, some 47 KB, take about two round trips more, for every client.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Places that can be far away.
pub trait Far {
    /// How far away they are from now on.
    fn set_round_trip(&self, round_trip: Duration);

    /// Closes all connections and forgets what went through.
    fn cut(&self) -> impl Future<Output = ()>;
}

/// Timers fire up to a millisecond late.
const MEAN_LATENESS: Duration = Duration::from_micros(500);

/// Bytes and when they are let out; no bytes are the end.
type Chunk = (Instant, Vec<u8>);

#[derive(Default)]
struct Line {
    round_trip_micros: AtomicU64,
    /// Round trips beyond that of TCP before the first byte goes on.
    handshake: u32,
    connections: AtomicUsize,
    open: Mutex<JoinSet<()>>,
}

impl Line {
    fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip_micros.load(Ordering::Relaxed))
    }
}

/// A running proxy; ends on drop, with its connections.
pub struct LatencyProxy {
    line: Arc<Line>,
    accepting: JoinHandle<()>,
}

impl LatencyProxy {
    /// A listener on a free port, whose address can be told to the server behind before the proxy runs.
    pub async fn listener() -> io::Result<TcpListener> {
        TcpListener::bind("127.0.0.1:0").await
    }

    /// Passes everything on to `target`, `host:port`; with no delay at first.
    pub fn start(listener: TcpListener, target: String) -> Self {
        Self::start_with(listener, target, 0)
    }

    /// The same to a server without TLS that stands for one with it: its handshake takes one more round trip.
    pub fn start_for_tls(listener: TcpListener, target: String) -> Self {
        Self::start_with(listener, target, 1)
    }

    fn start_with(listener: TcpListener, target: String, handshake: u32) -> Self {
        let line = Arc::new(Line { handshake, ..Line::default() });
        let shared = line.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let connection = pass(client, target.clone(), shared.clone());
                shared.open.lock().unwrap().spawn(connection);
            }
        });
        Self { line, accepting }
    }

    /// How far away the target is from now on, for connections that are open too.
    pub fn set_round_trip(&self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap();
        self.line.round_trip_micros.store(micros, Ordering::Relaxed);
    }

    /// Connections since this was last asked.
    pub fn take_connections(&self) -> usize {
        self.line.connections.swap(0, Ordering::Relaxed)
    }

    /// Closes all connections, and returns when that is done.
    pub async fn cut(&self) {
        let mut open = std::mem::take(&mut *self.line.open.lock().unwrap());
        open.shutdown().await;
    }
}

impl Drop for LatencyProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, target: String, line: Arc<Line>) {
    let usable_from = Instant::now() + line.round_trip() * (1 + line.handshake);
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (questions, requests_out) = unbounded_channel();
    let (responses, responses_out) = unbounded_channel();
    futures::join!(
        take_in(from_client, questions, &line, usable_from),
        let_out(requests_out, to_server),
        take_in(from_server, responses, &line, usable_from),
        let_out(responses_out, to_client),
    );
}

/// Reads at once whatever comes, so that a chunk on its way holds up none behind it.
async fn take_in(mut from: OwnedReadHalf, queue: UnboundedSender<Chunk>, line: &Line, usable_from: Instant) {
    loop {
        let mut bytes = vec![0; 64 * 1024];
        let length = from.read(&mut bytes).await.unwrap_or(0);
        bytes.truncate(length);
        let due = Instant::now().max(usable_from) + line.round_trip() / 2;
        if queue.send((due, bytes)).is_err() || length == 0 {
            return;
        }
    }
}

async fn let_out(mut queue: UnboundedReceiver<Chunk>, mut to: OwnedWriteHalf) {
    while let Some((due, bytes)) = queue.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due - MEAN_LATENESS).await;
        }
        if bytes.is_empty() || to.write_all(&bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
