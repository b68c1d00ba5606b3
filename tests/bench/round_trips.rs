//! How many round trips resolving takes: the slope of wall time over round-trip time, for our client and, on the same list
//! through the same proxy, for crane and skopeo. Slopes are steady where seconds are not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use imageset_controller::domain::Reference;
use imageset_controller::domain::answer::Hints;
use imageset_controller::registry::{Access, DockerConfig, RegistryClient, RegistryClientSettings, RegistrySettings};

use crate::Measured;
use crate::far_registry::{FarRegistry, TokenServiceAt, Traffic};
use crate::statistics::{median, slope};
use crate::testbox::peers::{Peer, Peers};

/// Round-trip times, in milliseconds.
const DISTANCES: [u64; 4] = [0, 20, 50, 100];
/// How often each is measured; the median counts.
const RUNS: usize = 5;
/// A token is worth nothing after this; see [`resolve_realm_known`].
const SHORT_LIFE: Duration = Duration::from_secs(1);

pub async fn measure(far: &FarRegistry) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    let (same, other) = (TokenServiceAt::SameHost, TokenServiceAt::OtherHost);

    let mut traffic = Traffic::default();
    let cold = sloped(far, "resolve_cold", RUNS, async || {
        let took = resolve_cold(far, same).await?;
        traffic = most(traffic, far.registry(same).take_traffic());
        Ok(took)
    });
    measured.push(Measured::limited("resolve_cold_slope", cold.await?, 5.5, "round trips"));
    let images = far.references(same).len() as f64;
    measured.push(Measured::limited("resolve_cold_requests", traffic.requests as f64, images + 2.0, "requests"));
    measured.push(Measured::limited("resolve_cold_connections", traffic.connections as f64, 1.0, "connections"));

    let (mut to_registry, mut to_tokens) = (Traffic::default(), Traffic::default());
    let cold_other = sloped(far, "resolve_cold_other_host", RUNS, async || {
        let took = resolve_cold(far, other).await?;
        to_registry = most(to_registry, far.registry(other).take_traffic());
        to_tokens = most(to_tokens, far.other_host().take_traffic());
        Ok(took)
    });
    measured.push(Measured::limited("resolve_cold_other_host_slope", cold_other.await?, 7.5, "round trips"));
    let per_host = to_registry.connections.max(to_tokens.connections) as f64;
    measured.push(Measured::limited("connections_per_host_other_host", per_host, 1.0, "connections"));

    let known = sloped(far, "resolve_realm_known", RUNS, async || resolve_realm_known(far, same).await);
    measured.push(Measured::limited("resolve_realm_known_slope", known.await?, 4.5, "round trips"));

    // RECHECK: `RegistryClient::recheck` is not there yet; recheck_slope (limit 1.2) belongs here.

    for (peer, name) in [(Peer::Crane, "crane"), (Peer::Skopeo, "skopeo")] {
        measured.extend(measure_peer(far, peer, name).await?);
    }
    Ok(measured)
}

/// Measures at every distance, says the medians, and gives their slope.
async fn sloped(
    far: &FarRegistry,
    name: &str,
    runs: usize,
    mut run: impl AsyncFnMut() -> Result<Duration>,
) -> Result<f64> {
    let mut points = Vec::new();
    for distance in DISTANCES {
        far.set_round_trip(Duration::from_millis(distance));
        let mut took = Vec::new();
        for _ in 0..runs {
            far.cut().await;
            took.push(run().await.with_context(|| format!("{name} at {distance} ms"))?.as_secs_f64() * 1000.0);
        }
        points.push((distance as f64, median(&mut took)));
    }
    far.set_round_trip(Duration::ZERO);
    let told: Vec<String> = points.iter().map(|(x, y)| format!("{y:.0} ms at {x}")).collect();
    println!("{name}: {}", told.join(", "));
    Ok(slope(&points))
}

fn most(one: Traffic, other: Traffic) -> Traffic {
    Traffic { requests: one.requests.max(other.requests), connections: one.connections.max(other.connections) }
}

/// Our client with what it needs to know of an arrangement.
struct Ours {
    client: RegistryClient,
    access: Access,
    references: Vec<Reference>,
}

impl Ours {
    fn new(far: &FarRegistry, at: TokenServiceAt) -> Result<Self> {
        let settings = RegistrySettings {
            host: far.registry(at).host().to_owned(),
            ca_pem: Some(far.ca_pem().as_bytes().to_vec()),
            token_service: (at == TokenServiceAt::OtherHost).then(|| far.other_host().host().to_owned()),
            ..RegistrySettings::default()
        };
        let credentials = vec![DockerConfig::parse_dockerconfigjson(far.docker_config_json().as_bytes())?];
        let references = far.references(at).iter().map(|reference| reference.parse()).collect::<Result<_, _>>()?;
        let client = RegistryClient::new(RegistryClientSettings::default());
        Ok(Self { client, access: Access { credentials, registries: vec![settings] }, references })
    }

    async fn resolve(&self) -> Result<Duration> {
        let started = Instant::now();
        let outcomes = self.client.resolve(&self.access, &self.references, &Hints::default(), |_| {}).await;
        let took = started.elapsed();
        for outcome in outcomes {
            outcome.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        }
        Ok(took)
    }
}

/// A client that never asked anything.
async fn resolve_cold(far: &FarRegistry, at: TokenServiceAt) -> Result<Duration> {
    Ours::new(far, at)?.resolve().await
}

/// A client that resolved before, whose connections are closed and whose token has expired: it may know what the registry
/// demands, and no more.
async fn resolve_realm_known(far: &FarRegistry, at: TokenServiceAt) -> Result<Duration> {
    let ours = Ours::new(far, at)?;
    let token_service = far.token_service()?;
    token_service.set_lifetime(SHORT_LIFE.as_secs());
    let first = ours.resolve().await;
    token_service.set_lifetime(300);
    first?;
    tokio::time::sleep(SHORT_LIFE).await;
    far.cut().await;
    // The client's own tasks learn of the end.
    tokio::time::sleep(Duration::from_millis(20)).await;
    token_service.forget_requests();
    let took = ours.resolve().await?;
    ensure!(!token_service.requests().is_empty(), "an expired token was used again: nothing was measured");
    Ok(took)
}

/// One process an image, as its users run it.
async fn measure_peer(far: &FarRegistry, peer: Peer, name: &'static str) -> Result<Vec<Measured>> {
    let at = TokenServiceAt::SameHost;
    let peers = Peers::new(&far.docker_config_json(), Some(far.ca_pem())).await?;
    let references = far.references(at);
    let mut digests = BTreeMap::new();
    let mut traffic = Traffic::default();
    let sloped = sloped(far, name, 1, async || {
        let started = Instant::now();
        for reference in &references {
            let os = if reference.contains("windows") { "windows" } else { "linux" };
            digests.insert(reference.clone(), peers.digest(peer, reference, os).await?);
        }
        let took = started.elapsed();
        traffic = far.registry(at).take_traffic();
        Ok(took)
    });
    let sloped = sloped.await?;
    ensure!(digests.len() == references.len(), "{name} named {} digests", digests.len());
    let Traffic { requests, connections } = traffic;
    let [slope, asked, opened] = match peer {
        Peer::Crane => ["crane_slope", "crane_requests", "crane_connections"],
        Peer::Skopeo => ["skopeo_slope", "skopeo_requests", "skopeo_connections"],
    };
    Ok(vec![
        Measured::beside(slope, sloped, "round trips"),
        Measured::beside(asked, requests as f64, "requests"),
        Measured::beside(opened, connections as f64, "connections"),
    ])
}
