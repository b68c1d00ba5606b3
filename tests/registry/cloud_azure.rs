//! Tokens of Azure Container Registry: Workload Identity, a client secret, managed identity, and the exchange at the registry.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use imageset_controller::model::{CloudProvider, Reference, RegistryFailureKind};
use serde_json::json;

use crate::cloud::Cloud;
use crate::server::{Reply, Seen};
use crate::{CANARY, kinds, look_up, look_up_all};

const HOST: &str = "team.azurecr.io";
const CLIENT: &str = "00000000-1111-2222-3333-444444444444";
const TENANT: &str = "99999999-8888-7777-6666-555555555555";
const AUDIENCE: &str = "https://containerregistry.azure.net";

fn json_reply(status: u16, body: &serde_json::Value) -> Reply {
    Reply::new(status, "application/json", body.to_string())
}

fn challenge() -> Reply {
    Reply::challenge(&format!(r#"Bearer realm="https://{HOST}/oauth2/token",service="{HOST}""#))
}

/// A refresh token with the claims that tell its lifetime.
fn refresh_token() -> String {
    let claims = URL_SAFE_NO_PAD.encode(json!({"iat": 1000, "exp": 11_800, "jti": CANARY}).to_string());
    format!("e30.{claims}.c2ln")
}

/// A registry that exchanges tokens, and its images.
async fn registry() -> (Cloud, Vec<Reference>) {
    let cloud = Cloud::start(HOST, CloudProvider::Azure).await;
    let images = cloud.images(3, &challenge(), "Bearer of-the-registry");
    cloud.registry.on("/oauth2/exchange", json_reply(200, &json!({"refresh_token": refresh_token()})));
    cloud.registry.on("/oauth2/token", json_reply(200, &json!({"access_token": "of-the-registry"})));
    (cloud, images)
}

fn entra_token() -> Reply {
    json_reply(200, &json!({"token_type": "Bearer", "expires_in": 3599, "access_token": format!("entra-{CANARY}")}))
}

fn form(seen: &Seen) -> Vec<(String, String)> {
    let mut form: Vec<(String, String)> = seen.form().into_iter().collect();
    form.sort();
    form
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Checks what the registry was asked: the exchange, then a token for all images.
fn assert_exchanged(cloud: &Cloud, tenant: Option<&str>) {
    let seen = cloud.registry.seen();
    let of = |path: &str| seen.iter().filter(|seen| seen.path == path).collect::<Vec<_>>();
    let (exchanges, tokens) = (of("/oauth2/exchange"), of("/oauth2/token"));
    assert_eq!((exchanges.len(), tokens.len()), (1, 1), "{:?}", cloud.registry.requests());
    let access_token = format!("entra-{CANARY}");
    let mut expected = pairs([("access_token", &access_token), ("grant_type", "access_token"), ("service", HOST)]);
    expected.extend(tenant.map(|tenant| ("tenant".to_owned(), tenant.to_owned())));
    assert_eq!(form(exchanges[0]), expected);
    let token = tokens[0].form();
    assert_eq!(
        (token["grant_type"].as_str(), token["refresh_token"].as_str()),
        ("refresh_token", refresh_token().as_str())
    );
    assert_eq!(token["service"], HOST);
}

#[tokio::test]
async fn workload_identity_exchanges_the_token_of_the_service_account() {
    let (cloud, images) = registry().await;
    let cloud = cloud.with("AZURE_CLIENT_ID", CLIENT).with("AZURE_TENANT_ID", TENANT);
    let cloud = cloud.with_file("AZURE_FEDERATED_TOKEN_FILE", CANARY).with_service("AZURE_AUTHORITY_HOST", "/");
    cloud.services.on(&format!("/{TENANT}/oauth2/v2.0/token"), entra_token());
    let outcomes = look_up_all(&cloud.client(), &cloud.access, &images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(cloud.asked(), [format!("POST /{TENANT}/oauth2/v2.0/token")]);
    let scope = format!("{AUDIENCE}/.default");
    let expected = pairs([
        ("client_assertion", CANARY),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_id", CLIENT),
        ("grant_type", "client_credentials"),
        ("scope", &scope),
    ]);
    assert_eq!(form(&cloud.services.seen()[0]), expected);
    assert_exchanged(&cloud, Some(TENANT));
}

#[tokio::test]
async fn a_client_secret_of_the_environment_serves_as_well() {
    let (cloud, images) = registry().await;
    let cloud = cloud.with("AZURE_CLIENT_ID", CLIENT).with("AZURE_TENANT_ID", TENANT);
    let cloud = cloud.with("AZURE_CLIENT_SECRET", CANARY).with_service("AZURE_AUTHORITY_HOST", "");
    cloud.services.on(&format!("/{TENANT}/oauth2/v2.0/token"), entra_token());
    look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap();
    assert_eq!(cloud.services.seen()[0].form()["client_secret"], CANARY);
}

#[tokio::test]
async fn a_managed_identity_is_asked_of_the_metadata_service() {
    let (cloud, images) = registry().await;
    let cloud = cloud.with_service("AZURE_POD_IDENTITY_AUTHORITY_HOST", "/").with("AZURE_CLIENT_ID", CLIENT);
    // Numbers are texts here.
    let token = json!({"access_token": format!("entra-{CANARY}"), "expires_in": "86399", "resource": AUDIENCE});
    cloud.services.on("/metadata/identity/oauth2/token", json_reply(200, &token));
    let outcomes = look_up_all(&cloud.client(), &cloud.access, &images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let seen = &cloud.services.seen()[0];
    assert_eq!((seen.method.as_str(), seen.header("metadata")), ("GET", "true"));
    let query: Vec<(String, String)> = url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
    assert_eq!(query, pairs([("api-version", "2018-02-01"), ("resource", AUDIENCE), ("client_id", CLIENT)]));
    assert_exchanged(&cloud, None);
}

#[tokio::test]
async fn refusals_name_the_identity_and_the_fix() {
    use RegistryFailureKind::{CloudIdentityMissing, CloudIdentityRefused, CloudUnavailable};
    let entra = |status: u16, code: &str, number: u64| {
        json_reply(status, &json!({"error": code, "error_codes": [number], "error_description": CANARY}))
    };
    let unavailable = CloudUnavailable { retry_after_seconds: None };
    for (of_entra, of_registry, kind, words) in [
        (
            entra(401, "invalid_client", 700_213),
            Reply::status(200),
            CloudIdentityRefused,
            [CLIENT, "AADSTS700213", "federated credential"],
        ),
        (entra(400, CANARY, 0), Reply::status(200), CloudIdentityRefused, [CLIENT, "400", "federated credential"]),
        (Reply::status(503), Reply::status(200), unavailable, ["Microsoft Entra ID", "fails", "503"]),
        (entra_token(), Reply::status(401), CloudIdentityRefused, [CLIENT, "401", "AcrPull"]),
        (entra_token(), Reply::status(429), unavailable, ["token exchange", "limits the rate", "429"]),
        (entra_token(), json_reply(200, &json!({})), unavailable, ["token exchange", "not understood", ""]),
    ] {
        let (cloud, images) = registry().await;
        let cloud = cloud.with("AZURE_CLIENT_ID", CLIENT).with("AZURE_TENANT_ID", TENANT);
        let cloud = cloud.with_file("AZURE_FEDERATED_TOKEN_FILE", CANARY).with_service("AZURE_AUTHORITY_HOST", "/");
        cloud.services.on("*", of_entra);
        cloud.registry.on("/oauth2/exchange", of_registry);
        let outcomes = look_up_all(&cloud.client(), &cloud.access, &images).await;
        assert_eq!(kinds(&outcomes), [Some(kind); 3], "{words:?}");
        let failure = outcomes[0].as_ref().unwrap_err();
        assert!(words.iter().all(|word| failure.response.contains(word)), "{words:?}: {failure}");
    }
    let (cloud, images) = registry().await;
    let cloud = cloud.with("AZURE_CLIENT_ID", CLIENT).with("AZURE_TENANT_ID", TENANT);
    let cloud = cloud.with("AZURE_FEDERATED_TOKEN_FILE", "/nowhere/token");
    let failure = look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap_err();
    assert_eq!(failure.kind, CloudIdentityMissing);
    assert!(failure.response.contains("AZURE_FEDERATED_TOKEN_FILE /nowhere/token"), "{failure}");
}
