//! How many round trips our client takes: the slope of wall time over round-trip time, which is steady where seconds are
//! not.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use imageset_controller::model::{Content, Hints, Presence, Reference, ResolvedImage};
use imageset_controller::registry::{Access, DockerConfig, RegistryClient, RegistryClientSettings, RegistrySettings};

use crate::Measured;
use crate::far_registry::{FarRegistry, TokenServiceAt, Traffic};
use crate::latency::Far;
use crate::statistics::{lower_quartile, median, slope};

/// Round-trip times, in milliseconds.
const DISTANCES: [u64; 4] = [0, 20, 50, 100];
/// How often each is measured; the lower quartile counts.
pub const RUNS: usize = 7;
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

    let known = sloped(far, "resolve_realm_known_other_host", RUNS, async || resolve_realm_known(far, other).await);
    measured.push(Measured::limited("resolve_realm_known_other_host_slope", known.await?, 4.5, "round trips"));

    let platforms = sloped(far, "resolve_cold_platforms", RUNS, async || resolve_with_platforms(far, same).await);
    measured.push(Measured::limited("resolve_cold_platforms_slope", platforms.await?, 6.5, "round trips"));

    let mut traffic = Traffic::default();
    let recheck = sloped(far, "recheck", RUNS, async || {
        let (took, gone_through) = recheck(far, same).await?;
        traffic = most(traffic, gone_through);
        Ok(took)
    });
    measured.push(Measured::limited("recheck_slope", recheck.await?, 1.2, "round trips"));
    measured.push(Measured::limited("recheck_requests", traffic.requests as f64, images, "requests"));
    measured.push(Measured::limited("recheck_connections", traffic.connections as f64, 0.0, "connections"));

    Ok(measured)
}

/// Measures at every distance, says what it took, and gives the slope of that.
pub async fn sloped(
    far: &impl Far,
    name: &str,
    runs: usize,
    mut run: impl AsyncFnMut() -> Result<Duration>,
) -> Result<f64> {
    let mut took = DISTANCES.map(|_| Vec::new());
    for _ in 0..runs {
        // One distance after the other in each run: what else this machine does meanwhile falls on all of them.
        for (distance, took) in DISTANCES.iter().zip(&mut took) {
            far.set_round_trip(Duration::from_millis(*distance));
            far.cut().await;
            let one = run().await.with_context(|| format!("{name} at {distance} ms"))?;
            took.push(one.as_secs_f64() * 1000.0);
        }
    }
    far.set_round_trip(Duration::ZERO);
    let mut points_of = |middle: fn(&mut [f64]) -> f64| -> Vec<(f64, f64)> {
        DISTANCES.iter().zip(&mut took).map(|(distance, took)| (*distance as f64, middle(took))).collect()
    };
    let (points, medians) = (points_of(lower_quartile), points_of(median));
    let output: Vec<String> = points.iter().map(|(x, y)| format!("{y:.0} ms at {x}")).collect();
    // Well above the other, it tells of a busy machine, or of a round trip more in some of the runs.
    println!("{name}: {}; slope of the medians {:.2}", output.join(", "), slope(&medians));
    Ok(slope(&points))
}

fn most(one: Traffic, other: Traffic) -> Traffic {
    Traffic { requests: one.requests.max(other.requests), connections: one.connections.max(other.connections) }
}

/// Our client with what it needs to know of an arrangement.
struct Product {
    client: RegistryClient,
    access: Access,
    references: Vec<Reference>,
}

impl Product {
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
        Ok(Self { client, access: Access { credentials, registries: vec![settings], ..Access::default() }, references })
    }

    async fn resolve(&self, hints: &Hints) -> Result<(Duration, Vec<ResolvedImage>)> {
        let started = Instant::now();
        let outcomes = self.client.resolve(&self.access, &self.references, hints, |_| {}).await;
        let took = started.elapsed();
        let images: Result<_, _> = outcomes.into_iter().collect();
        Ok((took, images.map_err(|failure| anyhow::anyhow!("{failure}"))?))
    }
}

/// A client that never asked anything.
async fn resolve_cold(far: &FarRegistry, at: TokenServiceAt) -> Result<Duration> {
    Ok(Product::new(far, at)?.resolve(&Hints::default()).await?.0)
}

/// The same, and the manifests for the nodes' platforms have to be there.
async fn resolve_with_platforms(far: &FarRegistry, at: TokenServiceAt) -> Result<Duration> {
    let platforms = ["linux/amd64", "linux/arm64"].map(|platform| platform.parse());
    let hints = Hints { platforms: platforms.into_iter().collect::<Result<_, _>>()?, ..Hints::default() };
    let (took, images) = Product::new(far, at)?.resolve(&hints).await?;
    let present = |image: &ResolvedImage| match &image.content {
        Content::Index { children } => children.iter().filter(|child| child.presence == Presence::Present).count(),
        Content::Manifest { .. } => 0,
    };
    let windows = images.iter().filter(|image| image.reference.repository().ends_with("windows")).count();
    let (seen, wanted) = (images.iter().map(present).sum::<usize>(), 2 * (images.len() - windows));
    ensure!(seen == wanted, "{seen} platform manifests were looked for, not {wanted}");
    Ok(took)
}

/// The same images once more by the same client, which has connection and token: has any tag moved?
async fn recheck(far: &FarRegistry, at: TokenServiceAt) -> Result<(Duration, Traffic)> {
    let product = Product::new(far, at)?;
    let (_, images) = product.resolve(&Hints::default()).await?;
    far.registry(at).take_traffic();
    let known = images.iter().map(|image| (image.reference.clone(), image.clone())).collect();
    let (took, again) = product.resolve(&Hints { known, ..Hints::default() }).await?;
    ensure!(again == images, "the second look saw something else");
    Ok((took, far.registry(at).take_traffic()))
}

/// A client that resolved before, whose connections are closed and whose token has expired: it may know what the registry
/// demands, and no more.
async fn resolve_realm_known(far: &FarRegistry, at: TokenServiceAt) -> Result<Duration> {
    let product = Product::new(far, at)?;
    let token_service = far.token_service()?;
    token_service.set_lifetime(SHORT_LIFE.as_secs());
    let first = product.resolve(&Hints::default()).await;
    token_service.set_lifetime(300);
    first?;
    tokio::time::sleep(SHORT_LIFE).await;
    far.cut().await;
    // The client's own tasks learn of the end.
    tokio::time::sleep(Duration::from_millis(20)).await;
    token_service.forget_requests();
    let (took, _) = product.resolve(&Hints::default()).await?;
    ensure!(!token_service.requests().is_empty(), "an expired token was used again: nothing was measured");
    Ok(took)
}
