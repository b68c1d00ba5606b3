//! What `generate` takes of memory while registries do their worst: bodies that never end, of one registry and of as many as
//! a printed list may name, a list that names more of them, and tokens that stand in every text.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use tokio::process::Command;

use crate::far_registry::RELEASE;
use crate::memory::mebibytes;
use crate::testbox::certificates::ServerCertificate;
use crate::testbox::images::INDEX_TYPE;
use crate::testbox::rules::{OperatorRules, Variant};
use crate::testbox::server;
use crate::{Measured, generate};

/// How often the process is looked at. Its peak only grows, so that the last look before its end counts.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// So long it is looked at without a pause: it may end in no time.
const LOOK_CLOSELY_FOR: Duration = Duration::from_millis(100);
const ENDS_WITHIN: Duration = Duration::from_secs(150);

/// Hosts of a printed list: as many as are asked, and far more.
const HOSTS: [usize; 2] = [8, 60];
/// Images of the longest list that is taken.
const IMAGES: usize = 250;

pub async fn measure(binary: &Path) -> Result<Vec<Measured>> {
    let certificate = ServerCertificate::create("an authority of the bench")?;
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, &certificate.authority_pem)?;
    let mut measured = Vec::new();
    for (name, protocol) in [("resolve_hostile_peak", "h2"), ("resolve_hostile_peak_http1", "http/1.1")] {
        let (host, server) = serve(&certificate, protocol, endless).await?;
        let peak = peak(generate::command(binary, &host, &authority), "bodies that never end").await?;
        drop(server);
        measured.push(Measured::limited(name, peak, 32.0, "MiB"));
    }
    for (name, protocol) in [("hostile_8_hosts_peak", "h2"), ("hostile_8_hosts_peak_http1", "http/1.1")] {
        let peak = peak_of_list(binary, folder.path(), &certificate, protocol, HOSTS[0]).await?;
        measured.push(Measured::limited(name, peak, 64.0, "MiB"));
    }
    let peak_of_many = peak_of_list(binary, folder.path(), &certificate, "h2", HOSTS[1]).await?;
    measured.push(Measured::limited("hostile_60_hosts_peak", peak_of_many, 64.0, "MiB"));
    let (host, server) = serve(&certificate, "h2", token_in_every_text).await?;
    let peak = peak(generate::command(binary, &host, &authority), "tokens that stand in every text").await?;
    drop(server);
    measured.push(Measured::limited("token_loop_peak", peak, 32.0, "MiB"));
    Ok(measured)
}

/// A server on a free port: its host, and what keeps it.
async fn serve<F, B>(
    certificate: &ServerCertificate,
    protocol: &str,
    handler: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> Result<(String, server::Server)>
where
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (address, server) = server::start(Some(server::acceptor(certificate, &[protocol])?), handler).await?;
    Ok((address.to_string(), server))
}

/// With a printed list that spreads its images over so many hosts, all of which answer without end.
async fn peak_of_list(
    binary: &Path,
    folder: &Path,
    certificate: &ServerCertificate,
    protocol: &str,
    hosts: usize,
) -> Result<f64> {
    let mut servers = Vec::new();
    for _ in 0..hosts {
        servers.push(serve(certificate, protocol, endless).await?);
    }
    let rules = OperatorRules::for_version(RELEASE)?;
    let names = rules.names_of(Variant::Calico).into_iter().map(|name| name.to_string());
    let names: Vec<String> = names
        .filter(|name| name.starts_with("calico/"))
        .chain((0..).map(|number| format!("calico/more-{number}")))
        .take(IMAGES)
        .collect();
    let mut list: Vec<String> =
        names.iter().zip(servers.iter().cycle()).map(|(name, (host, _))| format!("{host}/{name}:v3.99.0")).collect();
    list.extend([
        format!("{}/tigera/kibana:v3.98.0", servers[0].0),
        format!("{}/tigera/operator:v1.99.0", servers[0].0),
    ]);
    let (version, images) = (folder.join("version.txt"), folder.join("images.txt"));
    std::fs::write(&version, "Operator: v1.99.0\nCalico: v3.99.0\nEnterprise: v3.98.0\n")?;
    std::fs::write(&images, list.join("\n"))?;
    let mut command = Command::new(binary);
    command.args(["generate", "--version-file"]).arg(version).arg("--images-file").arg(images);
    command.arg("--ca-file").arg(folder.join("ca.pem")).env_clear().env("HOME", "/nowhere").kill_on_drop(true);
    peak(command, &format!("a printed list of {hosts} hosts ({protocol})")).await
}

/// The most that `generate` ever had resident, in MiB.
async fn peak(mut command: Command, what: &str) -> Result<f64> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let process = child.id().context("no process id")?;
    let started = Instant::now();
    let mut peak = f64::NAN;
    let ended = tokio::time::timeout(ENDS_WITHIN, child.wait_with_output());
    tokio::pin!(ended);
    let output = loop {
        let pause = async {
            match started.elapsed() < LOOK_CLOSELY_FOR {
                true => tokio::task::yield_now().await,
                false => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        tokio::select! {
            output = &mut ended => break output.context("generate did not end")??,
            () = pause => peak = mebibytes(process, "VmHWM").unwrap_or(peak),
        }
    };
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{what}: {}: {message}", output.status);
    println!("generate, {what}: {}", message.lines().next().unwrap_or_default());
    Ok(peak)
}

/// Gives each repository a token of its own, `e`, and then says little else.
async fn token_in_every_text(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let response = Response::builder();
    if request.uri().path() == "/token" {
        let several = request.uri().query().unwrap_or_default().matches("scope=").count() > 1;
        let (status, body) = if several { (400, "{}") } else { (200, r#"{"token": "e"}"#) };
        return Ok(response.status(status).body(Full::from(body))?);
    }
    if request.headers().contains_key(header::AUTHORIZATION) {
        let response = response.status(403).header(header::CONTENT_TYPE, "text/plain");
        return Ok(response.body(Full::from("e".repeat(8 * 1024)))?);
    }
    let host = request.uri().authority().map(ToString::to_string);
    let host = host.or_else(|| Some(request.headers().get(header::HOST)?.to_str().ok()?.to_owned()));
    let realm = format!("Bearer realm=\"https://{}/token\",service=\"x\"", host.unwrap_or_default());
    Ok(response.status(401).header(header::WWW_AUTHENTICATE, realm).body(Full::default())?)
}

async fn endless(_: Request<Incoming>) -> Result<Response<Endless>> {
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
