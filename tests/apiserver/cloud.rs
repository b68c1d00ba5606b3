//! A cluster whose images are in ECR, with the identity of the controller's service account in AWS and without any Secret.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams};
use serde_json::json;
use std::time::Duration;

use crate::testbox::controller::Manner;
use crate::testbox::ecr::{self, Ecr, Tunnel};
use crate::testbox::scenery;
use crate::world::{CANARY, Scenery, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_images_in_ecr_needs_no_secret() {
    let releases = &["v1.40.15", "v1.42.3", "v1.42.4"];
    let mut world = World::start(Scenery { name: "cloud", releases, ..Scenery::default() }).await;
    let ecr = Ecr::start(&world.mirror.registry.host(), CANARY).await.unwrap();
    let tunnel = Tunnel::start(ecr.registry()).await.unwrap();
    world.mirror.stand_behind(ecr::HOST.to_owned());
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "registry-ca" },
        "data": { "ca.crt": ecr.authority_pem() },
    });
    scenery::apply::<ConfigMap>(&world.own(), &map).await.unwrap();
    let bundle = json!({ "configMapRef": { "namespace": "imageset-controller", "name": "registry-ca" } });
    let policy = |provider: &str, versions: &[&str]| {
        let entry = json!({ "host": ecr::HOST, "provider": provider, "caBundle": bundle });
        json!({ "mode": "Apply", "prepare": { "versions": versions }, "registries": [entry] })
    };
    let mut environment = ecr.environment(&ecr.services());
    environment.push(("HTTPS_PROXY", tunnel.url()));

    // As nodes pull, without a Secret: the provider is proposed by the registry's name.
    world.policy_as(policy("Generic", &[])).await.unwrap();
    let controller = world.controller_as(&Manner { environment, ..Manner::default() }, "first").await;
    let words = [ecr::HOST, "wants credentials", "provider: AWS"];
    world.until_message("Resolved", "False", "NodeCredentialsOnly", &words).await;
    assert_eq!(ecr.issued(), 0);

    ecr.set_lifetime(Duration::from_secs(4));
    world.policy_as(policy("AWS", &[])).await.unwrap();
    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Ready", "True", "Succeeded").await;
    let first = ecr.issued();
    assert!(first >= 1);

    // The next versions are staged with a new token each, and the upgrade finds its set.
    ecr.until_expired().await;
    world.policy_as(policy("AWS", &["v1.42.3"])).await.unwrap();
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    let second = ecr.issued();
    assert!(second > first);
    ecr.until_expired().await;
    world.policy_as(policy("AWS", &["v1.42.3", "v1.42.4"])).await.unwrap();
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    assert!(ecr.issued() > second);
    world.operator("v1.42.4").await;
    world.until("Ready", "True", "Succeeded").await;
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));

    assert_eq!(ecr.rejected(), 0, "no request had a token that had expired");
    let secrets: Api<Secret> = Api::all(world.client.clone());
    let secrets = secrets.list(&ListParams::default()).await.unwrap().items;
    assert!(secrets.is_empty(), "{secrets:?}");
    world.finish(&[&controller]).await;
}
