//! Tokens of Amazon ECR: each source of credentials with its documented requests, the signature, failures that name identity and
//! permission, and what is kept for how long.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imageset_controller::model::{CloudProvider, RegistryFailureKind, Retry};
use imageset_controller::registry::Access;
use jiff::{SignedDuration, Timestamp};
use ring::{digest, hmac};
use serde_json::json;

use crate::cloud::Cloud;
use crate::server::{Reply, Seen};
use crate::{CANARY, kinds, look_up, look_up_all};

const HOST: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
const ROLE: &str = "arn:aws:iam::111122223333:role/imageset-controller";
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/// As the API and STS have it; no secret by itself.
const KEY_ID: &str = "ASIAEXAMPLE";

fn challenge() -> Reply {
    Reply::challenge(&format!(r#"Basic realm="https://{HOST}/",service="ecr.amazonaws.com""#))
}

fn json_reply(status: u16, body: &serde_json::Value) -> Reply {
    Reply::new(status, "application/x-amz-json-1.1", body.to_string())
}

/// A token that ends after so many seconds.
fn token(password: &str, seconds: i64) -> Reply {
    let data = json!({
        "authorizationToken": STANDARD.encode(format!("AWS:{password}")),
        "expiresAt": Timestamp::now().as_second() + seconds,
        "proxyEndpoint": format!("https://{HOST}"),
    });
    json_reply(200, &json!({"authorizationData": [data]}))
}

fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("AWS:{password}")))
}

fn sts(text: &str) -> String {
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{text}</AssumeRoleWithWebIdentityResponse>"
    )
}

fn assumed() -> Reply {
    let text = format!(
        "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{KEY_ID}</AccessKeyId>\
         <SecretAccessKey>secret-{}</SecretAccessKey><SessionToken>session-{}</SessionToken>\
         <Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>",
        canary(),
        canary(),
    );
    Reply::new(200, "text/xml", sts(&text))
}

/// The planted secret in the characters that AWS uses.
fn canary() -> String {
    STANDARD.encode(CANARY)
}

/// Served by container credentials and instance metadata.
fn served() -> Reply {
    json_reply(
        200,
        &json!({"Code": "Success", "AccessKeyId": KEY_ID, "SecretAccessKey": format!("secret-{}", canary()),
                "Token": format!("session-{}", canary()), "Expiration": "2030-01-01T00:00:00Z"}),
    )
}

/// A cloud with the token of a service account, as IRSA injects it.
async fn irsa() -> Cloud {
    let cloud = Cloud::start(HOST, CloudProvider::Aws).await;
    let cloud = cloud.with_service("AWS_ENDPOINT_URL_STS", "/sts").with_service("AWS_ENDPOINT_URL_ECR", "/ecr");
    let cloud = cloud.with_file("AWS_WEB_IDENTITY_TOKEN_FILE", &format!("{CANARY}\n")).with("AWS_ROLE_ARN", ROLE);
    cloud.services.on("/sts", assumed()).on("/ecr", token(CANARY, 43_200));
    cloud
}

/// Checks a signature by the vendor's description, not by the library: Signature Version 4, "Create a signed request".
fn assert_signed(seen: &Seen, service: &str, region: &str) {
    let date = seen.header("x-amz-date").to_owned();
    let names = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", seen.header(name))).collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sha256 = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!("{}\n{}\n\n{headers}\n{names}\n{}", seen.method, seen.path, sha256(seen.body.as_bytes()));
    let scope = format!("{}/{region}/{service}/aws4_request", &date[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let sign =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let key = format!("AWS4secret-{}", canary()).into_bytes();
    let key = [&date[..8], region, service, "aws4_request"].iter().fold(key, |key, part| sign(&key, part));
    let expected = format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={names}, Signature={}",
        hex(&sign(&key, &to_sign))
    );
    assert_eq!(seen.header("authorization"), expected, "{canonical}");
}

/// Checks the request for a token in full.
fn assert_asks_for_token(seen: &Seen) {
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", "{}"));
    assert_eq!(seen.header("content-type"), "application/x-amz-json-1.1");
    assert_eq!(seen.header("x-amz-target"), TARGET);
    assert_eq!(seen.header("x-amz-security-token"), format!("session-{}", canary()));
    assert_signed(seen, "ecr", "eu-west-1");
}

#[tokio::test]
async fn irsa_exchanges_the_token_of_the_service_account() {
    let cloud = irsa().await;
    let images = cloud.images(23, &challenge(), &basic(CANARY));
    let client = cloud.client();
    let outcomes = look_up_all(&client, &cloud.access, &images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");

    assert_eq!(cloud.asked(), ["POST /sts", "POST /ecr"], "once for all images");
    let seen = cloud.services.seen();
    let mut form: Vec<(String, String)> = seen[0].form().into_iter().collect();
    form.sort();
    let expected = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "imageset-controller"),
        ("Version", "2011-06-15"),
        ("WebIdentityToken", CANARY),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(seen[0].header("content-type"), "application/x-www-form-urlencoded");
    assert!(seen[0].scheme.is_none(), "it is not signed");
    assert_asks_for_token(&seen[1]);

    // The registry was asked for its scheme meanwhile, by one connection. Its services' own addresses need no proxy here.
    assert_eq!(cloud.registry.requests()[0], "GET /v2/");
    assert_eq!(cloud.registry.seen().len(), images.len() + 1);
    assert_eq!(cloud.registry.connections(), 1);

    // What is kept serves the next lookups.
    look_up(&client, &cloud.access, &images[0]).await.unwrap();
    assert_eq!(cloud.asked().len(), 2);
}

#[tokio::test]
async fn pod_identity_asks_the_agent_with_the_token_of_the_pod() {
    let cloud = Cloud::start(HOST, CloudProvider::Aws).await.with_service("AWS_ENDPOINT_URL_ECR", "/ecr");
    let cloud = cloud.with_service("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/v1/credentials");
    let cloud = cloud.with_file("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", CANARY);
    cloud.services.on("/v1/credentials", served()).on("/ecr", token(CANARY, 43_200));
    let images = cloud.images(1, &challenge(), &basic(CANARY));
    look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap();
    assert_eq!(cloud.asked(), ["GET /v1/credentials", "POST /ecr"]);
    assert_eq!(cloud.services.seen()[0].header("authorization"), CANARY);
    assert_asks_for_token(&cloud.services.seen()[1]);

    cloud.services.on("/v1/credentials", Reply::status(400));
    let failure = look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::CloudIdentityRefused);
    assert!(failure.response.contains("Pod Identity association"), "{failure}");
}

#[tokio::test]
async fn instance_metadata_is_asked_by_version_2_only() {
    let cloud = Cloud::start(HOST, CloudProvider::Aws).await.with_service("AWS_ENDPOINT_URL_ECR", "/ecr");
    let cloud = cloud.with_service("AWS_EC2_METADATA_SERVICE_ENDPOINT", "/");
    let folder = "/latest/meta-data/iam/security-credentials/";
    cloud.services.on("PUT /latest/api/token", Reply::new(200, "text/plain", CANARY));
    cloud.services.on(folder, Reply::new(200, "text/plain", "node-role")).on(&format!("{folder}node-role"), served());
    cloud.services.on("/ecr", token(CANARY, 43_200));
    let images = cloud.images(1, &challenge(), &basic(CANARY));
    look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap();
    let expected = [
        "PUT /latest/api/token".to_owned(),
        format!("GET {folder}"),
        format!("GET {folder}node-role"),
        "POST /ecr".to_owned(),
    ];
    assert_eq!(cloud.asked(), expected);
    let seen = cloud.services.seen();
    assert_eq!(seen[0].header("x-aws-ec2-metadata-token-ttl-seconds"), "60");
    assert_eq!([&seen[1], &seen[2]].map(|seen| seen.header("x-aws-ec2-metadata-token")), [CANARY; 2]);
    assert_asks_for_token(&seen[3]);

    // Without a token there is no second way, and a node without a role has nothing to give.
    for (path, reply) in [("PUT /latest/api/token", Reply::status(403)), (folder, Reply::status(404))] {
        cloud.services.on(path, reply);
        let failure = look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::CloudIdentityMissing, "{failure}");
        assert!(failure.response.contains("eks.amazonaws.com/role-arn"), "{failure}");
        cloud.services.on("PUT /latest/api/token", Reply::new(200, "text/plain", CANARY));
    }
}

#[tokio::test]
async fn the_environment_of_a_person_has_static_keys() {
    let cloud = Cloud::start(HOST, CloudProvider::Aws).await.with_service("AWS_ENDPOINT_URL_ECR", "/ecr");
    let cloud = cloud.with("AWS_ACCESS_KEY_ID", KEY_ID).with("AWS_SECRET_ACCESS_KEY", format!("secret-{}", canary()));
    let cloud = cloud.with("AWS_SESSION_TOKEN", format!("session-{}", canary()));
    cloud.services.on("/ecr", token(CANARY, 43_200));
    let images = cloud.images(1, &challenge(), &basic(CANARY));
    look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap();
    assert_eq!(cloud.asked(), ["POST /ecr"]);
    assert_asks_for_token(&cloud.services.seen()[0]);
}

#[tokio::test]
async fn the_public_gallery_has_an_api_of_its_own() {
    let host = "public.ecr.aws";
    let cloud = Cloud::start(host, CloudProvider::Aws).await.with_service("AWS_ENDPOINT_URL_ECR_PUBLIC", "/public");
    let cloud = cloud.with("AWS_ACCESS_KEY_ID", KEY_ID).with("AWS_SECRET_ACCESS_KEY", format!("secret-{}", canary()));
    let cloud = cloud.with("AWS_SESSION_TOKEN", format!("session-{}", canary()));
    let data = json!({"authorizationToken": STANDARD.encode(format!("AWS:{CANARY}")),
                      "expiresAt": Timestamp::now().as_second() + 43_200});
    cloud.services.on("/public", json_reply(200, &json!({"authorizationData": data})));
    let bearer = Reply::challenge(&format!(r#"Bearer realm="https://{host}/token/",service="{host}""#));
    let images = cloud.images(1, &bearer, "Bearer of-the-gallery");
    let issued = Reply::new(200, "application/json", json!({"token": "of-the-gallery"}).to_string());
    cloud.registry.on("/token/", Reply::status(401).but_to(&basic(CANARY), issued));
    look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap();
    let seen = &cloud.services.seen()[0];
    assert_eq!(seen.header("x-amz-target"), "SpencerFrontendService.GetAuthorizationToken");
    assert_signed(seen, "ecr-public", "us-east-1");
}

#[tokio::test]
async fn an_expired_token_is_replaced_and_what_it_opened_is_forgotten() {
    let cloud = irsa().await;
    cloud.services.on("/ecr", token("first", 1));
    let images = cloud.images(1, &challenge(), &basic("first"));
    let client = cloud.client();
    look_up(&client, &cloud.access, &images[0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;

    // The registry knows the new one only.
    cloud.services.on("/ecr", token("second", 43_200));
    cloud.images(1, &challenge(), &basic("second"));
    look_up(&client, &cloud.access, &images[0]).await.unwrap();
    assert_eq!(cloud.asked(), ["POST /sts", "POST /ecr", "POST /sts", "POST /ecr"]);
    assert!(!cloud.registry.seen().last().unwrap().header("authorization").is_empty());
}

#[tokio::test]
async fn when_a_token_has_expired_a_cloud_that_fails_is_told() {
    let cloud = irsa().await;
    cloud.services.on("/ecr", token(CANARY, 1));
    let images = cloud.images(1, &challenge(), &basic(CANARY));
    let client = cloud.client();
    look_up(&client, &cloud.access, &images[0]).await.unwrap();
    cloud.services.on("/sts", Reply::status(503));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let failure = look_up(&client, &cloud.access, &images[0]).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::CloudUnavailable { retry_after_seconds: None }, "{failure}");
}

#[tokio::test]
async fn refusals_name_the_identity_and_the_permission() {
    use RegistryFailureKind::{CloudIdentityRefused, CloudUnavailable};
    let xml = |status: u16, code: &str| {
        let error =
            format!("<ErrorResponse><Error><Code>{code}</Code><Message>{CANARY}</Message></Error></ErrorResponse>");
        Reply::new(status, "text/xml", error)
    };
    let api = |status: u16, code: &str| {
        json_reply(status, &json!({"__type": format!("com.amazonaws.ecr#{code}"), "message": CANARY}))
    };
    let unavailable = |retry_after_seconds| CloudUnavailable { retry_after_seconds };
    for (path, reply, kind, words) in [
        (
            "/sts",
            xml(403, "AccessDenied"),
            CloudIdentityRefused,
            [ROLE, "403 AccessDenied", "sts:AssumeRoleWithWebIdentity"],
        ),
        (
            "/sts",
            xml(400, "InvalidIdentityToken"),
            CloudIdentityRefused,
            [ROLE, "InvalidIdentityToken", "OIDC provider"],
        ),
        (
            "/sts",
            xml(400, "ExpiredTokenException"),
            CloudIdentityRefused,
            [ROLE, "ExpiredTokenException", "has expired"],
        ),
        ("/sts", xml(400, CANARY), CloudIdentityRefused, [ROLE, "(400)", "role-arn"]),
        ("/sts", xml(400, "Throttling"), unavailable(None), ["AWS STS", "limits the rate", "400"]),
        ("/sts", xml(503, "x"), unavailable(None), ["AWS STS", "fails", "503"]),
        ("/sts", Reply::new(200, "text/xml", CANARY), unavailable(None), ["AWS STS", "not understood", ""]),
        (
            "/ecr",
            api(400, "AccessDeniedException"),
            CloudIdentityRefused,
            [ROLE, "AccessDeniedException", "ecr:GetAuthorizationToken"],
        ),
        (
            "/ecr",
            api(400, "UnrecognizedClientException"),
            CloudIdentityRefused,
            [ROLE, "UnrecognizedClientException", "not valid"],
        ),
        ("/ecr", api(400, CANARY), CloudIdentityRefused, [ROLE, "(400)", "not valid"]),
        ("/ecr", api(400, "ThrottlingException"), unavailable(None), ["ECR API", "limits the rate", "400"]),
        (
            "/ecr",
            Reply::status(429).with("retry-after", "7"),
            unavailable(Some(7)),
            ["ECR API", "limits the rate", "429"],
        ),
        ("/ecr", Reply::status(500), unavailable(None), ["ECR API", "fails", "500"]),
        (
            "/ecr",
            Reply::status(307).with("location", "https://evil.example/"),
            unavailable(None),
            ["ECR API", "fails", "307"],
        ),
        (
            "/ecr",
            json_reply(200, &json!({"authorizationData": []})),
            unavailable(None),
            ["ECR API", "not understood", ""],
        ),
    ] {
        let cloud = irsa().await;
        cloud.services.on(path, reply.clone());
        let images = cloud.images(23, &challenge(), &basic(CANARY));
        let outcomes = look_up_all(&cloud.client(), &cloud.access, &images).await;
        assert_eq!(kinds(&outcomes), vec![Some(kind); images.len()], "{path} {reply:?}");
        let failure = outcomes[0].as_ref().unwrap_err();
        assert!(words.iter().all(|word| failure.response.contains(word)), "{words:?}: {failure}");
        assert!(cloud.asked().len() <= 2 && !cloud.registry.received("Basic"), "{:?}", cloud.asked());
        if let CloudUnavailable { retry_after_seconds: Some(seconds) } = kind {
            assert_eq!(failure.retry(), Retry::After(Duration::from_secs(seconds)));
        }
    }
}

#[tokio::test]
async fn a_registry_that_rejects_the_identity_is_told_with_the_permission() {
    let cloud = irsa().await;
    let denied = json!({"errors": [{"code": "DENIED", "message": format!("User is not authorized {CANARY}")}]});
    let denied = Reply::new(403, "application/json", denied.to_string());
    let images = cloud.images(3, &challenge(), &basic(CANARY));
    let forbidden = challenge().but_to(&basic(CANARY), denied);
    cloud.registry.on_manifest("calico/image-1", forbidden);
    let outcomes = look_up_all(&cloud.client(), &cloud.access, &images).await;
    assert_eq!(kinds(&outcomes), [None, Some(RegistryFailureKind::CloudIdentityRefused), None]);
    let failure = outcomes[1].as_ref().unwrap_err();
    for word in ["403 DENIED", ROLE, "ecr:BatchGetImage", "repository policy"] {
        assert!(failure.response.contains(word), "{word}: {failure}");
    }
}

#[tokio::test]
async fn a_clock_that_is_ten_minutes_off_is_corrected() {
    for minutes in [10, -10] {
        let there = Timestamp::now().checked_add(SignedDuration::from_mins(minutes)).unwrap();
        let date = there.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signed_at = |seen: &Seen| {
            let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", seen.header("x-amz-date")).unwrap();
            let time = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
            (time.as_second() - there.as_second()).abs()
        };
        // STS, which needs no signature, has told the time before.
        let cloud = irsa().await;
        cloud.services.on("/sts", assumed().with("date", &date)).on("/ecr", token(CANARY, 43_200).with("date", &date));
        let images = cloud.images(1, &challenge(), &basic(CANARY));
        look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap();
        assert_eq!(cloud.asked().len(), 2);
        assert!(signed_at(&cloud.services.seen()[1]) < 300, "{date}");

        // With keys of the environment the API itself tells it, by a refusal.
        let cloud =
            cloud.with("AWS_ACCESS_KEY_ID", KEY_ID).with("AWS_SECRET_ACCESS_KEY", format!("secret-{}", canary()));
        let refusal = json_reply(403, &json!({"__type": "InvalidSignatureException"})).with("date", &date);
        cloud.services.once("/ecr", refusal);
        look_up(&cloud.client(), &cloud.access, &images[0]).await.unwrap();
        assert_eq!(cloud.asked()[2..], ["POST /ecr", "POST /ecr"]);
        assert!(signed_at(&cloud.services.seen()[3]) < 300, "{date}");
    }
}

#[tokio::test]
async fn no_other_host_gets_a_token_of_the_cloud() {
    let cloud = irsa().await;
    let images = cloud.images(1, &challenge(), &basic(CANARY));
    let mut elsewhere = cloud.access.clone();
    elsewhere.registries[0].host = "registry.example".to_owned();
    let other = "registry.example/calico/image-0:v1".parse().unwrap();
    let failure = look_up(&cloud.client(), &elsewhere, &other).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::CloudIdentityRefused);
    assert!(failure.response.contains("not a registry of AWS"), "{failure}");

    let mut clear = cloud.access.clone();
    clear.registries[0].plain_http = true;
    let failure = look_up(&cloud.client(), &clear, &images[0]).await.unwrap_err();
    assert!(failure.response.contains("without TLS"), "{failure}");
    let mut of_google = cloud.access.clone();
    of_google.registries[0].provider = Some(CloudProvider::Gcp);
    let failure = look_up(&cloud.client(), &of_google, &images[0]).await.unwrap_err();
    assert!(failure.response.contains("not a registry of GCP"), "{failure}");
    assert!(cloud.asked().is_empty() && cloud.registry.seen().is_empty());
}

#[tokio::test]
async fn without_a_provider_no_identity_is_used() {
    let cloud = irsa().await;
    let images = cloud.images(1, &challenge(), &basic(CANARY));
    let mut generic = cloud.access.clone();
    generic.registries[0].provider = None;
    let failure = look_up(&cloud.client(), &generic, &images[0]).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::CredentialsMissing);
    assert!(cloud.asked().is_empty());
}

/// A redirect or a token realm must not lead where the cloud's own flow may go.
#[tokio::test]
async fn metadata_services_are_no_registries() {
    let client = crate::patient();
    for host in ["169.254.169.254", "169.254.170.23", "[fd00:ec2::254]", "metadata.google.internal"] {
        let reference = format!("{host}/calico/node:v1").parse().unwrap();
        let settings = imageset_controller::registry::RegistrySettings {
            host: host.to_owned(),
            plain_http: true,
            ..Default::default()
        };
        let access = Access { registries: vec![settings], ..Access::default() };
        let failure = look_up(&client, &access, &reference).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::RefusedTarget, "{failure}");
    }
}

/// What a file holds is not shown when it cannot be used.
#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let image = format!("{HOST}/calico/image-0:v1").parse().unwrap();
    for (cloud, words) in [
        (
            irsa().await.with("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token"),
            "AWS_WEB_IDENTITY_TOKEN_FILE /nowhere/token",
        ),
        (irsa().await.with_file("AWS_WEB_IDENTITY_TOKEN_FILE", " \n"), "it is empty"),
        (irsa().await.with_file("AWS_WEB_IDENTITY_TOKEN_FILE", &CANARY.repeat(9000)), "larger than"),
    ] {
        let failure = look_up(&cloud.client(), &cloud.access, &image).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::CloudIdentityMissing);
        assert!(failure.response.contains(words), "{failure}");
        assert!(cloud.asked().is_empty());
    }
}
