//! The identities of this process in clouds: returns the credential for a registry, and keeps it.

use std::time::Duration;

use super::clock::CloudClock;
use super::environment::CloudEnvironment;
use super::issued::{Issued, rejected};
use super::service::{CloudServices, unavailable};
use super::token_cache::{TokenCache, TokenKey};
use super::{aws, azure, gcp};
use crate::model::{CloudProvider, EcrRegistry};
use crate::registry::access::Endpoint;
use crate::registry::error::{RegistryError, Result};
use crate::registry::http::budget::RegistryBudget;
use crate::registry::http::proxy::Proxies;
use crate::registry::http::transport::Transport;
use crate::request_metrics::RequestMetrics;

/// For all requests to the cloud that one credential takes.
const DEADLINE: Duration = Duration::from_secs(25);
/// For a connection to a metadata service. It is on the node, or packets to it are dropped.
const METADATA_CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// See the module. One per process.
pub(crate) struct CloudIdentities {
    environment: CloudEnvironment,
    clock: CloudClock,
    /// For metadata services, without proxies.
    direct: Transport,
    budget: RegistryBudget,
    tokens: TokenCache,
}

impl CloudIdentities {
    pub(crate) fn new(environment: CloudEnvironment) -> Self {
        let direct = Transport::new(METADATA_CONNECT_DEADLINE, Proxies::default(), RequestMetrics::default());
        let (clock, tokens) = (CloudClock::default(), TokenCache::default());
        Self { environment, clock, direct, budget: RegistryBudget::default(), tokens }
    }

    /// Returns a credential that needs no request.
    pub(crate) fn kept(&self, endpoint: &Endpoint, provider: CloudProvider) -> Option<Issued> {
        self.tokens.fresh(&key(endpoint, provider).ok()?)
    }

    /// Returns the credential for a registry: the kept one, or a new one.
    ///
    /// # Errors
    /// The registry is not one of this cloud, there is no identity, it is rejected, or a service is not available.
    pub(crate) async fn credential(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        provider: CloudProvider,
    ) -> Result<Issued> {
        let key = key(endpoint, provider)?;
        let services = CloudServices {
            environment: &self.environment,
            clock: &self.clock,
            transport,
            direct: &self.direct,
            budget: &self.budget,
        };
        let fetch = async {
            let issuing = async {
                match provider {
                    CloudProvider::Aws => match EcrRegistry::of_host(&endpoint.settings.host) {
                        Some(registry) => aws::issue(&services, &registry).await,
                        None => Err(of_other_cloud(endpoint, provider)),
                    },
                    CloudProvider::Gcp => gcp::issue(&services).await,
                    CloudProvider::Azure => azure::issue(&services, endpoint).await,
                }
            };
            let late = |_| Err(unavailable(provider.as_str(), &format!("no token within {DEADLINE:.0?}"), None));
            tokio::time::timeout(DEADLINE, issuing).await.unwrap_or_else(late)
        };
        self.tokens.get(&key, fetch).await
    }

    /// Notes that a registry rejected the credential for it.
    pub(crate) fn note_rejected(&self, endpoint: &Endpoint, provider: CloudProvider) {
        if let Ok(key) = key(endpoint, provider) {
            self.tokens.note_rejected(&key);
        }
    }
}

/// Returns the key of a registry's credential. One of ECR serves a region, one of Google all registries, one of Azure its own.
fn key(endpoint: &Endpoint, provider: CloudProvider) -> Result<TokenKey> {
    let host = &endpoint.settings.host;
    // A token for another host would be a gift to its owner.
    if CloudProvider::of_host(host) != Some(provider) || endpoint.settings.plain_http {
        return Err(of_other_cloud(endpoint, provider));
    }
    let issuer = match provider {
        CloudProvider::Aws => EcrRegistry::of_host(host).map(|registry| registry.api_host).unwrap_or_default(),
        CloudProvider::Gcp => String::new(),
        CloudProvider::Azure => host.to_ascii_lowercase(),
    };
    Ok((provider, issuer))
}

fn of_other_cloud(endpoint: &Endpoint, provider: CloudProvider) -> RegistryError {
    let (host, name) = (&endpoint.settings.host, provider.as_str());
    if endpoint.settings.plain_http {
        return rejected(format!("no token of {name} is sent to {host} without TLS; remove plainHttp"));
    }
    let text =
        format!("{host} is not a registry of {name} ({}), and gets no token of it; correct provider", provider.hosts());
    rejected(text)
}
