//! The system's name resolver without the addresses that are out of reach. Filtering the addresses that are connected to, instead
//! of checking beforehand, leaves no gap for a name server whose second response differs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;

use super::address::Reach;
use crate::registry::error::RegistryError;

/// A name resolver that returns no address out of reach.
#[derive(Debug, Clone)]
pub(crate) struct GuardedResolver(pub Reach);

impl tower::Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let in_reach = |address: &SocketAddr| reach.allows(address.ip());
            let (allowed, rejected): (Vec<_>, Vec<_>) = found.into_iter().partition(in_reach);
            if allowed.is_empty() && !rejected.is_empty() {
                let further = match reach {
                    Reach::Registry => "whose addresses are those of a metadata service",
                    Reach::SentBy(_) => "whose addresses are further inside than the registry's",
                    Reach::CloudMetadata => "whose addresses are not those of a metadata service",
                };
                let unquoted = format!("sent to a host {further}");
                let rejected = RegistryError::rejected_target(unquoted, &format!("sent to {name}, {further}"));
                return Err(io::Error::other(rejected));
            }
            Ok(allowed.into_iter())
        })
    }
}
