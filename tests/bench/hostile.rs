//! What `generate` takes of memory while a registry answers every manifest with a body that never ends.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, Response, header};
use hyper::body::{Body, Frame, Incoming};
use tokio::net::TcpListener;

use crate::memory::mebibytes;
use crate::testbox::certificates::ServerCertificate;
use crate::testbox::images::INDEX_TYPE;
use crate::testbox::server;
use crate::{Measured, generate};

/// How often the process is looked at. Its peak only grows, so that the last look before its end counts.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const ENDS_WITHIN: Duration = Duration::from_secs(150);

pub async fn measure(binary: &Path) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for (name, protocol) in [("resolve_hostile_peak", "h2"), ("resolve_hostile_peak_http1", "http/1.1")] {
        let certificate = ServerCertificate::create("an authority of the bench")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let server = server::serve(listener, Some(server::acceptor(&certificate, &[protocol])?), answer);
        let peak = peak(binary, &host, &certificate.authority_pem).await?;
        drop(server);
        measured.push(Measured::limited(name, peak, 32.0, "MiB"));
    }
    Ok(measured)
}

/// The most that `generate` ever had resident, in MiB.
async fn peak(binary: &Path, host: &str, ca_pem: &str) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, ca_pem)?;
    let mut command = generate::command(binary, host, &authority);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let process = child.id().context("no process id")?;
    let mut peak = 0.0;
    let ended = tokio::time::timeout(ENDS_WITHIN, child.wait_with_output());
    tokio::pin!(ended);
    let output = loop {
        tokio::select! {
            output = &mut ended => break output.context("generate did not end")??,
            () = tokio::time::sleep(LOOK_EVERY) => peak = mebibytes(process, "VmHWM").unwrap_or(peak),
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{}: {said}", output.status);
    println!("generate from a registry whose bodies never end: {}", said.lines().next().unwrap_or_default());
    Ok(peak)
}

async fn answer(_: Request<Incoming>) -> Result<Response<Endless>> {
    Ok(Response::builder().header(header::CONTENT_TYPE, INDEX_TYPE).body(Endless { begun: false })?)
}

/// The beginning of an index, and spaces for ever: valid as far as it goes.
struct Endless {
    begun: bool,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes =
            if self.begun { Bytes::from_static(&[b' '; 16 * 1024]) } else { Bytes::from_static(b"{\"manifests\": [") };
        self.begun = true;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
