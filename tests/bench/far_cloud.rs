//! A registry of ECR with the images of one operator release, and the services that issue its tokens, all of them far away. A client
//! that knows nothing gets an identity, a token, and every digest.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use imageset_controller::model::{CloudProvider, Hints, Reference};
use imageset_controller::registry::{
    Access, CloudEnvironment, Proxies, RegistryClient, RegistryClientSettings, RegistrySettings,
};

use crate::Measured;
use crate::far_registry::RELEASE;
use crate::latency::{Far, LatencyProxy};
use crate::round_trips::{RUNS, sloped};
use crate::testbox::ecr::{self, Ecr, Tunnel};
use crate::testbox::rules::OperatorRules;
use crate::testbox::{Kind, Registry, images};

/// See the module.
struct FarCloud {
    ecr: Ecr,
    registry: LatencyProxy,
    services: LatencyProxy,
    services_host: String,
    /// Part of this machine: it adds no round trip.
    tunnel: Tunnel,
    references: Vec<Reference>,
    _behind: Registry,
}

impl Far for FarCloud {
    fn set_round_trip(&self, round_trip: Duration) {
        self.registry.set_round_trip(round_trip);
        self.services.set_round_trip(round_trip);
    }

    async fn cut(&self) {
        self.registry.cut().await;
        self.services.cut().await;
    }
}

impl FarCloud {
    async fn start() -> Result<Self> {
        let behind = Registry::start(Kind::Anonymous).await?;
        let references = OperatorRules::for_version(RELEASE)?.calico_references();
        images::push_release(&behind.access()?, &references, None).await?;
        let placed = |reference: &String| {
            let (repository, tag) = images::repository_and_tag(reference);
            Ok(format!("{}/{repository}:{tag}", ecr::HOST).parse()?)
        };
        let references = references.iter().map(placed).collect::<Result<_>>()?;
        let ecr = Ecr::start(&behind.host(), "of-the-bench").await?;
        let listener = LatencyProxy::listener().await?;
        let tunnel = Tunnel::start(listener.local_addr()?.to_string()).await?;
        let registry = LatencyProxy::start(listener, ecr.registry());
        let listener = LatencyProxy::listener().await?;
        let services_host = listener.local_addr()?.to_string();
        let services = LatencyProxy::start_for_tls(listener, ecr.services());
        Ok(Self { ecr, registry, services, services_host, tunnel, references, _behind: behind })
    }

    /// A client that never asked anything.
    async fn resolve(&self) -> Result<Duration> {
        let variables = self.ecr.environment(&self.services_host);
        let value =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value));
        let proxy = |name: &str| (name == "HTTPS_PROXY").then(|| self.tunnel.url().into());
        let settings = RegistryClientSettings {
            proxies: Proxies::of_variables(proxy),
            cloud: CloudEnvironment::of_variables(value),
            ..RegistryClientSettings::default()
        };
        let registry = RegistrySettings {
            host: ecr::HOST.to_owned(),
            provider: Some(CloudProvider::Aws),
            ca_pem: Some(self.ecr.authority_pem().as_bytes().to_vec()),
            ..RegistrySettings::default()
        };
        let access = Access { registries: vec![registry], ..Access::default() };
        let (client, issued) = (RegistryClient::new(settings), self.ecr.issued());
        let started = Instant::now();
        let outcomes = client.resolve(&access, &self.references, &Hints::default(), |_| {}).await;
        let took = started.elapsed();
        let images = outcomes.into_iter().collect::<Result<Vec<_>, _>>();
        images.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        ensure!(self.ecr.issued() == issued + 1, "one token for all images");
        Ok(took)
    }
}

pub async fn measure() -> Result<Vec<Measured>> {
    let far = FarCloud::start().await.context("a far cloud")?;
    let slope = sloped(&far, "resolve_cloud_token", RUNS, async || far.resolve().await).await?;
    Ok(vec![Measured::limited("resolve_cloud_token_slope", slope, 9.5, "round trips")])
}
