//! What `generate` made, given to the operator double: each release, one after another, on a real API server.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;

use crate::testbox::ControlPlane;
use crate::testbox::crds::{self, Kind as OperatorKind};
use crate::testbox::operator_double::{OperatorDouble, Options, What};
use crate::testbox::patience::SOON;
use crate::testbox::rules::Entry;
use crate::testbox::scenery;

/// Each operator finds the set that was made for it, takes it without a complaint, and rolls its workloads out with it.
pub async fn by_every_operator(sets: &[(String, String, Vec<Entry>)]) {
    let control_plane = ControlPlane::start("every-release").await.unwrap();
    let client = control_plane.client();
    crds::install(&client).await.unwrap();
    scenery::namespace(&client, "tigera-operator").await.unwrap();
    scenery::create(&client, OperatorKind::Installation, "default", json!({ "variant": "Calico" })).await.unwrap();
    let options = Options {
        pod_start: Duration::ZERO,
        roll_out: Duration::ZERO,
        poll: Duration::from_millis(5),
        ..Options::default()
    };
    let double = OperatorDouble::start(client.clone(), options);
    let mut stored: BTreeSet<&str> = BTreeSet::new();
    for (name, version, entries) in sets {
        let entries = scenery::with_entries(entries.iter().map(|(image, digest)| (image, digest)));
        scenery::create(&client, OperatorKind::ImageSet, name, entries).await.unwrap();
        scenery::operator(&client, &format!("quay.io/tigera/operator:{version}")).await.unwrap();
        let took_over = |what: &What| matches!(what, What::OperatorTookOver { version: of, .. } if of == version);
        double.wait_for(&format!("operator {version} to take over"), SOON, took_over).await.unwrap();
        double.wait_adopted(name, SOON).await.unwrap();
        double.wait_healthy(SOON).await.unwrap();

        let events = double.events();
        let since = events.iter().rposition(|seen| took_over(&seen.what)).unwrap();
        let complaints: Vec<String> = events[since..]
            .iter()
            .filter(|seen| {
                matches!(seen.what, What::Degraded(_) | What::UsesTags | What::LookedFor { found: false, .. })
            })
            .map(ToString::to_string)
            .collect();
        assert!(complaints.is_empty(), "operator {version} with {name}: {complaints:#?}");
        // Sets of other releases block the oldest operators.
        stored.insert(name);
        for other in std::mem::take(&mut stored) {
            if other == name {
                stored.insert(other);
            } else {
                OperatorKind::ImageSet.api(&client).delete(other, &DeleteParams::default()).await.unwrap();
            }
        }
    }
    double.stop().await;
}
