//! How many round trips others take on the same list through the same proxy: crane and skopeo, one process an image, as
//! their users run them. No limits: they are there to compare with.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::Measured;
use crate::far_registry::{FarRegistry, TokenServiceAt};
use crate::round_trips::sloped;
use crate::testbox::peers::{Peer, Peers};

/// Those who name digests with the fewest requests, and what their figures are called: slope, requests, connections.
const OTHERS: [(Peer, [&str; 3]); 2] = [
    (Peer::Crane, ["crane_slope", "crane_requests", "crane_connections"]),
    (Peer::SkopeoRaw, ["skopeo_slope", "skopeo_requests", "skopeo_connections"]),
];

pub async fn measure(far: &FarRegistry) -> Result<Vec<Measured>> {
    let at = TokenServiceAt::SameHost;
    let peers = Peers::new(&far.docker_config_json(), Some(far.ca_pem())).await?;
    let references = far.references(at);
    let mut measured = Vec::new();
    let mut named: Vec<BTreeMap<&String, String>> = Vec::new();
    for (peer, [slope, requests, connections]) in OTHERS {
        let mut digests = BTreeMap::new();
        let mut traffic = Default::default();
        let name = format!("{peer:?}");
        let sloped = sloped(far, &name, 1, async || {
            let started = Instant::now();
            for reference in &references {
                digests.insert(reference, peers.digest(peer, reference, "linux").await?);
            }
            let took = started.elapsed();
            traffic = far.registry(at).take_traffic();
            Ok(took)
        });
        measured.push(Measured::beside(slope, sloped.await?, "round trips"));
        measured.push(Measured::beside(requests, traffic.requests as f64, "requests"));
        measured.push(Measured::beside(connections, traffic.connections as f64, "connections"));
        named.push(digests);
    }
    ensure!(named.windows(2).all(|pair| pair[0] == pair[1]), "they name different digests");
    Ok(measured)
}
