//! The registry client against a scripted server: what it trusts, where it sends credentials, how it bounds bodies and waits. After
//! every call the planted secret is searched for in everything that was returned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imageset_controller::model::{Digest, Hints, Reference, RegistryFailure, RegistryFailureKind, ResolvedImage};
use imageset_controller::registry::{Access, DockerConfig, RegistryClient, RegistryClientSettings, RegistrySettings};
use serde_json::json;

mod addresses;
mod authentication;
mod bounds;
mod caching;
#[allow(missing_docs)]
#[path = "../testbox/certificates.rs"]
mod certificates;
mod checks;
mod cloud;
mod cloud_aws;
mod cloud_azure;
mod cloud_gcp;
mod cluster;
mod content;
mod failures;
mod faults;
mod outdated_state;
mod platforms;
mod proxies;
mod proxy;
mod quirks;
mod redirects;
mod server;
mod tags;
mod transcripts;
mod trust;

use server::{Reply, Server};

/// The password of every pull secret here. It has a quote and capitals because texts are escaped and lowercased.
const CANARY: &str = "Canary\"9d41/Zq+x";
/// Its user.
const USER: &str = "robot";
/// The limit of every wait: only something that hangs reaches it.
const SOON: Duration = Duration::from_secs(300);
/// The media type of an OCI index.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of an OCI image manifest.
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

type Outcome = Result<ResolvedImage, RegistryFailure>;

/// Limits that no test here reaches.
fn patient() -> RegistryClient {
    RegistryClient::new(RegistryClientSettings::default())
}

/// Limits for registries that never respond, but long enough for those that do, even on a slow machine.
fn hurried() -> RegistryClient {
    RegistryClient::new(hurried_settings())
}

fn hurried_settings() -> RegistryClientSettings {
    RegistryClientSettings {
        connect_deadline: Duration::from_secs(3),
        image_deadline: Duration::from_secs(3),
        ..RegistryClientSettings::default()
    }
}

/// Plain HTTP for these servers, no credentials.
fn plain(servers: &[&Server]) -> Access {
    let settings = |server: &&Server| RegistrySettings {
        host: server.host().to_owned(),
        plain_http: true,
        ..RegistrySettings::default()
    };
    Access { registries: servers.iter().map(settings).collect(), ..Access::default() }
}

/// The same with the planted pull secret for the first of them.
fn with_secret(servers: &[&Server]) -> Access {
    Access { credentials: vec![DockerConfig::of_password(servers[0].host(), USER, CANARY)], ..plain(servers) }
}

/// `Authorization` of the planted pull secret.
fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{CANARY}")))
}

/// The spellings of the secret.
fn canaries() -> Vec<String> {
    let encoded = url::form_urlencoded::byte_serialize(CANARY.as_bytes()).collect();
    let basic = STANDARD.encode(format!("{USER}:{CANARY}"));
    vec![CANARY.to_owned(), CANARY.escape_debug().to_string(), encoded, basic.to_lowercase(), basic]
}

/// Other spellings of the planted secret that redaction does not find: reversed, hexadecimal, base64 and spaced. A host that received
/// it can write all of these into its responses.
fn disguises() -> Vec<String> {
    let of_one = |secret: &str| {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let spaced: Vec<String> = secret.chars().map(String::from).collect();
        [secret.chars().rev().collect(), hex, STANDARD.encode(secret), spaced.join(" ")]
    };
    let basic = STANDARD.encode(format!("{USER}:{CANARY}"));
    [CANARY, basic.as_str()].into_iter().flat_map(of_one).collect()
}

/// Whether this server received the planted secret in any form.
fn received_secret(server: &Server) -> bool {
    canaries().iter().any(|canary| server.received(canary))
}

/// `repository:v1` of a server.
fn reference(server: &Server, repository: &str) -> Reference {
    format!("{}/{repository}:v1", server.host()).parse().unwrap()
}

/// An index for two platforms; different bytes for each name.
fn index(name: &str) -> Vec<u8> {
    let entry = |architecture: &str| {
        json!({"mediaType": IMAGE, "digest": Digest::of(format!("{name} {architecture}").as_bytes()).to_string(),
               "size": 1, "platform": {"os": "linux", "architecture": architecture}})
    };
    let text = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry("amd64"), entry("arm64")]});
    serde_json::to_vec(&text).unwrap()
}

/// A successful response with [`index`].
fn good(name: &str) -> Reply {
    Reply::new(200, INDEX, index(name))
}

/// Resolves, and searches for the planted secret in everything that is returned.
async fn look_up_all(client: &RegistryClient, access: &Access, references: &[Reference]) -> Vec<Outcome> {
    look_up_with(client, access, references, &Hints::default()).await
}

/// The same with hints.
async fn look_up_with(
    client: &RegistryClient,
    access: &Access,
    references: &[Reference],
    hints: &Hints,
) -> Vec<Outcome> {
    let outcomes = client.resolve(access, references, hints, |_| {}).await;
    assert_eq!(outcomes.len(), references.len());
    for outcome in &outcomes {
        secret_free(&format!("{outcome:?} {client:?} {access:?}"));
        if let Err(failure) = outcome {
            secret_free(&format!("{failure} {} {}", failure.summary(), serde_json::to_string(failure).unwrap()));
        }
    }
    outcomes
}

fn secret_free(text: &str) {
    for canary in canaries().into_iter().chain(disguises()) {
        assert!(!text.to_lowercase().contains(&canary.to_lowercase()), "the secret leaked: {text}");
    }
}

/// One image.
async fn look_up(client: &RegistryClient, access: &Access, reference: &Reference) -> Outcome {
    look_up_all(client, access, std::slice::from_ref(reference)).await.remove(0)
}

/// The failure of one image of a server that answers the manifest with `reply`.
async fn failure_of(reply: Reply) -> RegistryFailure {
    let server = Server::start().await;
    server.on_manifest("calico/node", reply);
    look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.expect_err("it should fail")
}

/// TLS by the authority of this certificate.
fn trusting(server: &Server, certificate: &certificates::ServerCertificate) -> Access {
    let settings = RegistrySettings {
        host: server.host().to_owned(),
        ca_pem: Some(certificate.authority_pem.clone().into_bytes()),
        ..RegistrySettings::default()
    };
    Access { registries: vec![settings], ..Access::default() }
}

/// The kinds of failures, for comparing.
fn kinds(outcomes: &[Outcome]) -> Vec<Option<RegistryFailureKind>> {
    outcomes.iter().map(|outcome| outcome.as_ref().err().map(|failure| failure.kind)).collect()
}

/// Waits until this holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "waited {} s for {what}", SOON.as_secs());
}
