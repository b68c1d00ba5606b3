//! Tokens of Google Artifact Registry: the metadata server, and each type of credentials file with its documented requests.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use imageset_controller::model::{CloudProvider, Reference, RegistryFailureKind};
use jiff::{SignedDuration, Timestamp};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::server::{Reply, Seen};
use crate::{CANARY, kinds, look_up, look_up_all};

const HOST: &str = "europe-west1-docker.pkg.dev";
const EMAIL: &str = "imageset-controller@team.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const POOL: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k8s";
const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default";
/// A key that serves this test and nobody else.
const KEY: &str = include_str!("service-account.pem");

fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::new(status, "application/json", body.to_string())
}

/// A registry whose token service accepts the planted access token, and its images.
async fn registry() -> (Cloud, Vec<Reference>) {
    let cloud = Cloud::start(HOST, CloudProvider::Gcp).await;
    let challenge = Reply::challenge(&format!(r#"Bearer realm="https://{HOST}/v2/token",service="{HOST}""#));
    let images = cloud.images(3, &challenge, "Bearer of-the-registry");
    let basic = format!("Basic {}", STANDARD.encode(format!("oauth2accesstoken:{CANARY}")));
    let issued = json_reply(200, &json!({"token": "of-the-registry"}));
    cloud.registry.on("/v2/token", Reply::status(401).but_to(&basic, issued));
    (cloud, images)
}

fn access_token() -> Reply {
    json_reply(200, &json!({"access_token": CANARY, "expires_in": 3599, "token_type": "Bearer"}))
}

async fn assert_resolved(cloud: &Cloud, images: &[Reference]) {
    let outcomes = look_up_all(&cloud.client(), &cloud.access, images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[tokio::test]
async fn workload_identity_is_served_by_the_metadata_server() {
    let (cloud, images) = registry().await;
    let host = cloud.services.host().to_owned();
    let cloud = cloud.with("GCE_METADATA_HOST", host);
    let flavored = |reply: Reply| reply.with("metadata-flavor", "Google");
    cloud.services.on(&format!("{METADATA}/token"), flavored(access_token()));
    cloud.services.on(&format!("{METADATA}/email"), flavored(Reply::new(200, "text/plain", EMAIL)));
    assert_resolved(&cloud, &images).await;
    let mut asked = cloud.asked();
    asked.sort();
    assert_eq!(asked, [format!("GET {METADATA}/email"), format!("GET {METADATA}/token")]);
    assert!(cloud.services.seen().iter().all(|seen| seen.header("metadata-flavor") == "Google"));

    // The registry's rejection names the account.
    cloud.registry.on("/v2/token", Reply::status(403));
    let failure = look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::CloudIdentityRefused);
    assert!([EMAIL, "roles/artifactregistry.reader"].iter().all(|word| failure.response.contains(word)), "{failure}");

    // Somebody else at this address, and a pod without an account.
    for (reply, words) in [(access_token(), "not that of Google"), (flavored(Reply::status(404)), "no service account")]
    {
        cloud.services.on(&format!("{METADATA}/token"), reply);
        let failure = look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::CloudIdentityMissing);
        assert!(failure.response.contains(words), "{failure}");
    }
}

/// Checks a signed assertion, and returns its claims.
fn claims(seen: &Seen) -> Value {
    let form = seen.form();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let (text, signature) = form["assertion"].rsplit_once('.').unwrap();
    let key = RsaKeyPair::from_pkcs8(PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap().secret_pkcs8_der());
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.unwrap().public_key().as_ref().to_vec());
    key.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let part = |number| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(number).unwrap()).unwrap()).unwrap()
    };
    assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
    part(1)
}

fn service_account(cloud: Cloud) -> Cloud {
    let file = json!({"type": "service_account", "client_email": EMAIL, "private_key_id": "key-1", "private_key": KEY,
                      "token_uri": cloud.services.url("/token"), "project_id": "team"});
    cloud.with_file("GOOGLE_APPLICATION_CREDENTIALS", &file.to_string())
}

#[tokio::test]
async fn a_service_account_signs_an_assertion() {
    let (cloud, images) = registry().await;
    let cloud = service_account(cloud);
    cloud.services.on("/token", access_token());
    assert_resolved(&cloud, &images).await;
    let claims = claims(&cloud.services.seen()[0]);
    let now = Timestamp::now().as_second();
    let issued_at = claims["iat"].as_i64().unwrap();
    assert!((now - issued_at).abs() < 300, "{claims}");
    let url = cloud.services.url("/token");
    assert_eq!(claims, json!({"iss": EMAIL, "scope": SCOPE, "aud": url, "iat": issued_at, "exp": issued_at + 3600}));
}

#[tokio::test]
async fn a_clock_that_is_ten_minutes_off_is_corrected() {
    let (cloud, images) = registry().await;
    let cloud = service_account(cloud);
    let there = Timestamp::now().checked_add(SignedDuration::from_mins(-10)).unwrap();
    let date = there.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    cloud.services.on("/token", access_token().with("date", &date));
    cloud.services.once("/token", json_reply(400, &json!({"error": "invalid_grant"})).with("date", &date));
    assert_resolved(&cloud, &images).await;
    let seen = cloud.services.seen();
    assert_eq!(seen.len(), 2);
    assert!((claims(&seen[1])["iat"].as_i64().unwrap() - there.as_second()).abs() < 300);
}

fn external_account(cloud: Cloud, change: impl FnOnce(&mut Value)) -> Cloud {
    let cloud = cloud.with_file("TOKEN", CANARY);
    let mut file = json!({
        "type": "external_account", "audience": POOL, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": cloud.services.url("/sts"), "credential_source": {"file": cloud.variable("TOKEN")},
    });
    change(&mut file);
    cloud.with_file("GOOGLE_APPLICATION_CREDENTIALS", &file.to_string())
}

#[tokio::test]
async fn an_external_account_exchanges_its_token() {
    let (cloud, images) = registry().await;
    let cloud = external_account(cloud, |_| {});
    cloud.services.on("/sts", access_token());
    assert_resolved(&cloud, &images).await;
    let mut form: Vec<(String, String)> = cloud.services.seen()[0].form().into_iter().collect();
    form.sort();
    let expected = [
        ("audience", POOL),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", SCOPE),
        ("subject_token", CANARY),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn an_external_account_can_stand_for_a_service_account() {
    let (cloud, images) = registry().await;
    let cloud = cloud.with_file("JSON_TOKEN", &json!({"id_token": CANARY}).to_string());
    let path = format!("/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken");
    let (url, file) = (cloud.services.url(&path), cloud.variable("JSON_TOKEN"));
    let cloud = external_account(cloud, |account| {
        account["service_account_impersonation_url"] = json!(url);
        account["credential_source"] =
            json!({"file": file, "format": {"type": "json", "subject_token_field_name": "id_token"}});
    });
    cloud.services.on("/sts", json_reply(200, &json!({"access_token": "federated", "expires_in": 3600})));
    cloud.services.on(&path, json_reply(200, &json!({"accessToken": CANARY, "expireTime": "2030-01-01T00:00:00Z"})));
    assert_resolved(&cloud, &images).await;
    let seen = cloud.services.seen();
    assert_eq!(seen[0].form()["subject_token"], CANARY);
    assert_eq!(seen[1].header("authorization"), "Bearer federated");
    let body: Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(body, json!({"scope": [SCOPE], "lifetime": "3600s"}));

    cloud.services.on(&path, json_reply(403, &json!({"error": {"status": "PERMISSION_DENIED", "message": CANARY}})));
    let failure = look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::CloudIdentityRefused);
    for word in ["PERMISSION_DENIED", "roles/iam.workloadIdentityUser", "workloadIdentityPools"] {
        assert!(failure.response.contains(word), "{word}: {failure}");
    }
}

#[tokio::test]
async fn a_person_uses_the_login_of_gcloud() {
    let (cloud, images) = registry().await;
    let file = json!({"type": "authorized_user", "client_id": "client", "client_secret": "secret", "refresh_token": CANARY,
                      "token_uri": cloud.services.url("/token")});
    let cloud = cloud.with_file("application_default_credentials.json", &file.to_string());
    let folder = cloud.folder();
    let cloud = cloud.with("CLOUDSDK_CONFIG", folder);
    cloud.services.on("/token", access_token());
    assert_resolved(&cloud, &images).await;
    let form = cloud.services.seen()[0].form();
    assert_eq!((form["grant_type"].as_str(), form["refresh_token"].as_str()), ("refresh_token", CANARY));
}

#[tokio::test]
async fn files_and_services_that_are_not_googles_are_refused() {
    use RegistryFailureKind::{CloudIdentityMissing, CloudIdentityRefused, CloudUnavailable};
    let evil = |place: &str| {
        let mut file = json!({"type": "service_account", "client_email": EMAIL, "private_key": KEY});
        file["token_uri"] = json!(place);
        file.to_string()
    };
    let (broken, other) = (format!("{{\"type\": \"{CANARY}\"}}"), json!({"type": "impersonated_service_account"}));
    for (text, words) in [
        (evil("https://googleapis.com.evil.example/token"), "not Google's"),
        (evil("https://evilgoogleapis.com/token"), "not Google's"),
        (evil("http://169.254.169.254/token"), "not an https address"),
        (evil("https://metadata.google.internal/token"), "not an https address"),
        (broken, "not a credentials file"),
        (other.to_string(), "not a credentials file"),
        (CANARY.to_owned(), "not a credentials file"),
        (
            json!({"type": "service_account", "client_email": EMAIL, "private_key": CANARY}).to_string(),
            "not an RSA key",
        ),
    ] {
        let (cloud, images) = registry().await;
        let cloud = cloud.with_file("GOOGLE_APPLICATION_CREDENTIALS", &text);
        let failure = look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap_err();
        assert_eq!(failure.kind, CloudIdentityMissing, "{words}: {failure}");
        assert!(failure.response.contains(words), "{words}: {failure}");
    }
    let (cloud, images) = registry().await;
    let cloud = service_account(cloud);
    for (reply, kind, word) in [
        (
            json_reply(400, &json!({"error": "invalid_grant", "error_description": CANARY})),
            CloudIdentityRefused,
            "invalid_grant",
        ),
        (
            Reply::status(429).with("retry-after", "3"),
            CloudUnavailable { retry_after_seconds: Some(3) },
            "limits the rate",
        ),
        (Reply::status(502), CloudUnavailable { retry_after_seconds: None }, "fails"),
    ] {
        cloud.services.on("/token", reply);
        let outcomes = look_up_all(&cloud.client(), &cloud.access, &images).await;
        assert_eq!(kinds(&outcomes), [Some(kind); 3]);
        assert!(outcomes[0].as_ref().unwrap_err().response.contains(word), "{outcomes:?}");
    }
}
