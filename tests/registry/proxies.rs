//! Registries behind proxies from the environment: tunnels for TLS, absolute form without, exceptions as in curl and Go, and failures
//! that name the proxy. Its password is searched for in everything that can be read.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imageset_controller::model::{Digest, Reference, RegistryFailureKind};
use imageset_controller::registry::{Access, Proxies, RegistryClient, RegistryClientSettings, RegistrySettings};
use serde_json::json;
use tokio::net::TcpListener;

use crate::certificates::ServerCertificate;
use crate::proxy::{Manner, Proxy, ProxyRequest};
use crate::server::{Reply, Server};
use crate::{CANARY, USER, good, index, look_up, look_up_all, plain, reference, secret_free, with_secret};

/// A name that no name server knows: only reachable through a proxy.
const NAME: &str = "registry.example";

/// A proxy's address with the planted user and password, as one writes it into a variable.
fn with_password(proxy: &Proxy) -> String {
    let password: String = url::form_urlencoded::byte_serialize(CANARY.as_bytes()).collect();
    format!("http://{USER}:{password}@{}", proxy.host())
}

/// What the proxy should be shown then.
fn shown() -> Option<String> {
    Some(format!("Basic {}", STANDARD.encode(format!("{USER}:{CANARY}"))))
}

/// A client with these variables.
fn client(variables: &[(&'static str, &str)]) -> RegistryClient {
    let value = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value));
    let settings =
        RegistryClientSettings { proxies: Proxies::of_variables(value), ..RegistryClientSettings::default() };
    secret_free(&format!("{settings:?}"));
    RegistryClient::new(settings)
}

fn certificate() -> ServerCertificate {
    ServerCertificate::create_with("an authority of nobody", &[NAME], |_| {}).unwrap()
}

/// A registry that is known as [`NAME`], with TLS, and how to trust it.
async fn registry(certificate: &ServerCertificate) -> (Server, Access) {
    let server = Server::start_http2(certificate).await;
    let settings = RegistrySettings {
        host: NAME.to_owned(),
        ca_pem: Some(certificate.authority_pem.clone().into_bytes()),
        ..RegistrySettings::default()
    };
    (server, Access { registries: vec![settings], ..Access::default() })
}

/// Asked for without TLS.
fn in_the_clear(hosts: &[&str]) -> Access {
    let settings =
        |host: &&str| RegistrySettings { host: (*host).to_owned(), plain_http: true, ..RegistrySettings::default() };
    Access { registries: hosts.iter().map(settings).collect(), ..Access::default() }
}

fn node(host: &str) -> Reference {
    format!("{host}/calico/node:v1").parse().unwrap()
}

fn request(what: &str) -> ProxyRequest {
    ProxyRequest { what: what.to_owned(), shown: shown() }
}

#[tokio::test]
async fn a_set_goes_through_one_tunnel_with_http_2_in_it() {
    let (server, access) = registry(&certificate()).await;
    let proxy = Proxy::start(&server, Manner::Wants(shown().unwrap()), None).await;
    let images: Vec<Reference> =
        (0..23).map(|number| format!("{NAME}/calico/image-{number}:v1").parse().unwrap()).collect();
    for image in &images {
        server.on_manifest(image.repository(), good(image.repository()));
    }
    let outcomes = look_up_all(&client(&[("HTTPS_PROXY", &with_password(&proxy))]), &access, &images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(proxy.requests(), [request("CONNECT registry.example:443")]);
    assert_eq!(server.connections(), 1);
    assert!(server.seen().iter().all(|seen| seen.version == http::Version::HTTP_2), "{:?}", server.seen());
    assert!(!crate::received_secret(&server), "the proxy's password is for the proxy");
}

#[tokio::test]
async fn a_registry_without_tls_is_reached_in_absolute_form() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node"));
    let proxy = Proxy::start(&server, Manner::Wants(shown().unwrap()), None).await;
    let client = client(&[("http_proxy", &with_password(&proxy))]);
    let host = "registry.example:5000";
    let image = look_up(&client, &in_the_clear(&[host]), &node(host)).await.unwrap();
    assert_eq!(image.digest, Digest::of(&index("node")));
    assert_eq!(proxy.requests(), [request("GET http://registry.example:5000/v2/calico/node/manifests/v1")]);
    assert_eq!(server.seen().len(), 1);
}

/// Which variable counts, and what `NO_PROXY` keeps away from the proxy. The names lead nowhere without one.
#[tokio::test]
async fn the_environment_selects_what_goes_through_a_proxy() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node"));
    let proxy = Proxy::start(&server, Manner::Open, None).await;
    let address = format!("http://{}", proxy.host());
    for (host, variables, through) in [
        ("registry.example", vec![("HTTP_PROXY", address.as_str())], true),
        ("registry.example", vec![("ALL_PROXY", &address)], true),
        ("registry.example", vec![("all_proxy", proxy.host())], true),
        ("registry.example", vec![("HTTP_PROXY", ""), ("all_proxy", &address)], true),
        ("registry.example", vec![("HTTP_PROXY", &address), ("ALL_PROXY", "socks5://127.0.0.1:1")], true),
        ("registry.example", vec![("HTTPS_PROXY", &address)], false),
        ("registry.example", vec![("HTTP_PROXY", &address), ("NO_PROXY", "*")], false),
        ("registry.example", vec![("HTTP_PROXY", &address), ("no_proxy", "example")], false),
        ("registry.example", vec![("HTTP_PROXY", &address), ("NO_PROXY", "other, registry.example")], false),
        ("registry.example", vec![("HTTP_PROXY", &address), ("NO_PROXY", "*.example")], false),
        ("registry.example", vec![("HTTP_PROXY", &address), ("NO_PROXY", "registry.example:80")], false),
        (
            "registry.example",
            vec![("HTTP_PROXY", &address), ("NO_PROXY", "registry.example:5000,gistry.example")],
            true,
        ),
        ("registry.example:5000", vec![("HTTP_PROXY", &address), ("NO_PROXY", "registry.example:5000")], false),
        ("192.0.2.7:5000", vec![("HTTP_PROXY", &address)], true),
        ("192.0.2.7:5000", vec![("HTTP_PROXY", &address), ("NO_PROXY", "192.0.3.0/24")], true),
        ("localhost:1", vec![("HTTP_PROXY", &address)], false),
        ("127.3.2.1:1", vec![("HTTP_PROXY", &address)], false),
        ("[::1]:1", vec![("HTTP_PROXY", &address)], false),
    ] {
        let before = proxy.requests().len();
        let outcome = look_up(&client(&variables), &in_the_clear(&[host]), &node(host)).await;
        assert_eq!(outcome.is_ok(), through, "{host} {variables:?}: {outcome:?}");
        assert_eq!(proxy.requests().len() - before, usize::from(through), "{host} {variables:?}");
    }
}

#[tokio::test]
async fn a_rejecting_proxy_is_named_and_gets_one_request_for_a_set() {
    let (server, with_tls) = registry(&certificate()).await;
    let cases = [
        (Manner::Wants("Basic other".to_owned()), "answered 407 for registry.example:443; HTTPS_PROXY needs the user"),
        (Manner::Rejects(502, format!("{CANARY} is wrong")), "answered 502 for registry.example:443"),
        (Manner::Rejects(403, shown().unwrap()), "answered 403 for registry.example:443"),
    ];
    for (manner, words) in cases {
        let proxy = Proxy::start(&server, manner, None).await;
        let images: Vec<Reference> =
            (0..5).map(|number| format!("{NAME}/calico/image-{number}:v1").parse().unwrap()).collect();
        let outcomes = look_up_all(&client(&[("HTTPS_PROXY", &with_password(&proxy))]), &with_tls, &images).await;
        for outcome in outcomes {
            let failure = outcome.unwrap_err();
            let expected = format!("the proxy http://{} of HTTPS_PROXY {words}", proxy.host());
            assert_eq!(failure.kind, RegistryFailureKind::Unreachable, "{failure}");
            assert!(failure.response.contains(&expected), "{failure}");
        }
        assert_eq!(proxy.requests().len(), 1);
    }
    assert_eq!(server.connections(), 0);
}

/// Without a tunnel the proxy's responses look like the registry's. Its password must not be shown either.
#[tokio::test]
async fn a_proxy_that_rejects_a_request_in_absolute_form_is_named() {
    use RegistryFailureKind::{Forbidden, ServerError, Unreachable};
    let server = Server::start().await;
    for (manner, kind, words) in [
        (Manner::Wants("Basic other".to_owned()), Unreachable, "of HTTP_PROXY answered 407 for a registry; "),
        (Manner::Rejects(502, format!("{CANARY} is wrong")), ServerError, "502"),
        (Manner::Rejects(403, shown().unwrap()), Forbidden, "403"),
    ] {
        let proxy = Proxy::start(&server, manner, None).await;
        let client = client(&[("HTTP_PROXY", &with_password(&proxy))]);
        let failure = look_up(&client, &in_the_clear(&[NAME]), &node(NAME)).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.response.contains(words) && !failure.response.contains("wrong"), "{failure}");
        assert_eq!(proxy.requests().len(), 1);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_unreachable_or_silent_proxy_is_named() {
    let (server, access) = registry(&certificate()).await;
    let proxy = Proxy::start(&server, Manner::Silent, None).await;
    let value = |name: &str| (name == "HTTPS_PROXY").then(|| OsString::from(with_password(&proxy)));
    let hurried = RegistryClient::new(RegistryClientSettings {
        connect_deadline: Duration::from_millis(300),
        proxies: Proxies::of_variables(value),
        ..RegistryClientSettings::default()
    });
    let failure = look_up(&hurried, &access, &node(NAME)).await.unwrap_err();
    let expected = format!("the proxy http://{} of HTTPS_PROXY did not answer within 300ms", proxy.host());
    assert_eq!((failure.kind, failure.response.as_str()), (RegistryFailureKind::Unreachable, expected.as_str()));

    let gone = with_password(&proxy);
    let host = proxy.host().to_owned();
    proxy.close().await;
    for (access, variable) in [(&access, "HTTPS_PROXY"), (&in_the_clear(&[NAME]), "HTTP_PROXY")] {
        let failure = look_up(&client(&[(variable, &gone)]), access, &node(NAME)).await.unwrap_err();
        let expected = format!("the proxy http://{host} of {variable} cannot be reached: ");
        assert!(
            failure.kind == RegistryFailureKind::Unreachable && failure.response.starts_with(&expected),
            "{failure}"
        );
    }
}

/// An unusable proxy is never bypassed, and never quoted.
#[tokio::test]
async fn a_variable_that_names_no_usable_proxy_is_an_error_where_it_counts() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node"));
    let password: String = url::form_urlencoded::byte_serialize(CANARY.as_bytes()).collect();
    for (value, words) in [
        (format!("socks5://{USER}:{password}@127.0.0.1:1080"), "ALL_PROXY names a socks5 proxy; http:// and"),
        (format!("socks5h://{password}@127.0.0.1:1080"), "ALL_PROXY names a socks5h proxy; http:// and"),
        (format!("ftp://{USER}:{password}@127.0.0.1"), "ALL_PROXY is not the address of a proxy"),
        (format!("http://{USER}:{CANARY}@127.0.0.1:3128"), "ALL_PROXY is not the address of a proxy"),
        (format!("http://{USER}:x@{password}@127.0.0.1:3128"), "ALL_PROXY is not the address of a proxy"),
        ("http://:3128".to_owned(), "ALL_PROXY is not the address of a proxy"),
        ("two words".to_owned(), "ALL_PROXY is not the address of a proxy"),
    ] {
        let client = client(&[("ALL_PROXY", &value)]);
        for access in [Access::default(), in_the_clear(&[NAME])] {
            let failure = look_up(&client, &access, &node(NAME)).await.unwrap_err();
            assert_eq!(failure.kind, RegistryFailureKind::Unreachable, "{failure}");
            assert!(failure.response.starts_with(words), "{failure}");
        }
        look_up(&client, &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap();
    }
}

/// A proxy's address is not the registry's: its name may stand for any address, so it must not name internal ones.
#[tokio::test]
async fn no_registry_sends_further_in_through_a_proxy() {
    let server = Server::start().await;
    let proxy = Proxy::start(&server, Manner::Open, None).await;
    let client = client(&[("ALL_PROXY", &format!("http://{}", proxy.host()))]);
    for (host, location, rejected) in [
        (NAME, "http://127.0.0.1:1/x", true),
        (NAME, "http://10.0.0.1/x", true),
        (NAME, "http://169.254.169.254/latest/meta-data", true),
        (NAME, "http://localhost:1/x", true),
        ("10.0.0.1:5000", "http://169.254.169.254/latest/meta-data", true),
        ("10.0.0.1:5000", "http://10.0.0.2/found", false),
        (NAME, "http://192.0.2.1/found", false),
        (NAME, "http://elsewhere.example/found", false),
        (NAME, "http://metadata.google.internal/x", true),
        ("registry.example.com", "http://cdn.example.net/found", false),
        ("registry.example.com", "http://kubernetes.default.svc/x", true),
        ("registry.example.com", "http://minio.corp/x", true),
    ] {
        server.on_manifest("calico/node", Reply::status(307).with("location", location)).on("/found", good("node"));
        let before = proxy.requests().len();
        let outcome = look_up(&client, &in_the_clear(&[host]), &node(host)).await;
        let kind = outcome.as_ref().err().map(|failure| failure.kind);
        assert_eq!(kind, rejected.then_some(RegistryFailureKind::RefusedTarget), "{host} to {location}: {outcome:?}");
        assert_eq!(proxy.requests().len() - before, if rejected { 1 } else { 2 }, "{host} to {location}");
    }
}

/// A redirect of a public host leads no further in than that host's address, wherever the request began.
#[tokio::test]
async fn a_redirecting_host_leads_no_further_in_than_its_address() {
    let server = Server::start().await;
    let proxy = Proxy::start(&server, Manner::Open, None).await;
    let client = client(&[("ALL_PROXY", &format!("http://{}", proxy.host()))]);
    for (hop, location, rejected) in [
        ("http://1.1.1.1/hop", "http://10.0.0.2/found", true),
        ("http://cdn.example.com/hop", "http://minio.corp/found", true),
        ("http://1.1.1.1/hop", "http://10.0.0.1:5000/found", true),
        ("http://10.0.0.9/hop", "http://10.0.0.2/found", false),
        ("http://10.0.0.9/hop", "http://1.1.1.1/found", false),
        ("http://1.1.1.1/hop", "http://1.0.0.1/found", false),
    ] {
        let redirect = |location: &str| Reply::status(307).with("location", location);
        server.on_manifest("calico/node", redirect(hop)).on("/hop", redirect(location)).on("/found", good("node"));
        let outcome = look_up(&client, &in_the_clear(&["10.0.0.1:5000"]), &node("10.0.0.1:5000")).await;
        let kind = outcome.as_ref().err().map(|failure| failure.kind);
        assert_eq!(kind, rejected.then_some(RegistryFailureKind::RefusedTarget), "{hop} to {location}: {outcome:?}");
    }
}

/// The command itself, with the variables of its process, for a whole release; the proxy wants TLS and has its certificate
/// from an authority of the system.
#[tokio::test]
async fn generate_takes_its_proxy_from_the_environment() {
    let certificate = certificate();
    let (server, _) = registry(&certificate).await;
    let of_proxy = ServerCertificate::create("an authority of the system").unwrap();
    let proxy = Proxy::start(&server, Manner::Wants(shown().unwrap()), Some(&of_proxy)).await;
    let folder = tempfile::tempdir().unwrap();
    let (own, system) = (folder.path().join("own.crt"), folder.path().join("system.crt"));
    std::fs::write(&own, &certificate.authority_pem).unwrap();
    std::fs::write(&system, &of_proxy.authority_pem).unwrap();
    let binary = env!("CARGO_BIN_EXE_imageset-controller");
    let images = Command::new(binary).args(["images", "v1.42.4"]).output().unwrap();
    for image in String::from_utf8(images.stdout).unwrap().lines() {
        let image: Reference = image.parse().unwrap();
        let path = format!("/v2/{}/manifests/{}", image.repository(), image.tag().unwrap());
        server.on(&path, good(image.repository()));
    }
    let run = |proxy: String| {
        let mut command = tokio::process::Command::new(binary);
        command.args(["generate", "v1.42.4", "--registry", NAME, "--ca-file"]).arg(&own);
        command.env_clear().env("SSL_CERT_FILE", &system).env("https_proxy", proxy).output()
    };
    let output = run(with_password(&proxy).replace("http://", "https://")).await.unwrap();
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("kind: ImageSet"), "{text}{notes}");
    assert_eq!(proxy.requests(), [request("CONNECT registry.example:443")]);
    secret_free(&format!("{text}{notes}"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let output = run(with_password(&proxy).replace(proxy.host(), &nobody.to_string())).await.unwrap();
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let named = format!("the proxy http://{nobody} of https_proxy cannot be reached");
    assert!(!output.status.success() && notes.contains(&named), "{text}{notes}");
    secret_free(&format!("{text}{notes}"));
}

/// Both have a password; each receives its own.
#[tokio::test]
async fn registry_and_proxy_each_receive_their_own_password() {
    let server = Server::start().await;
    server.on_manifest("calico/node", Reply::challenge("Basic").but_to(&crate::basic(), good("node")));
    let proxy = Proxy::start(&server, Manner::Wants("Basic cHJveHk6aXRz".to_owned()), None).await;
    let address = format!("http://proxy:its@{}", proxy.host());
    let mut access = with_secret(&[&server]);
    access.registries[0].mirror = Some(NAME.to_owned());
    access.registries.extend(in_the_clear(&[NAME]).registries);
    access.credentials = vec![imageset_controller::registry::DockerConfig::of_password(NAME, USER, CANARY)];
    look_up(&client(&[("HTTP_PROXY", &address)]), &access, &reference(&server, "calico/node")).await.unwrap();
    let shown: Vec<_> = proxy.requests().into_iter().map(|requested| requested.shown).collect();
    assert_eq!(shown, vec![Some("Basic cHJveHk6aXRz".to_owned()); 2]);
    assert_eq!(server.schemes(), [None, Some("Basic".to_owned())]);
    assert!(!server.received("cHJveHk6aXRz"));
}

/// The address of a kubeconfig's cluster, as kubectl would reach it: by the environment's proxy and its exceptions, or by the
/// kubeconfig's own. The server behind it is none; that it was asked is enough.
#[tokio::test]
async fn the_api_server_is_reached_as_kubectl_would() {
    let certificate = certificate();
    let (server, _) = registry(&certificate).await;
    let proxy = Proxy::start(&server, Manner::Wants(shown().unwrap()), None).await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |proxy_url: Option<String>, variables: Vec<(&str, String)>| {
        let cluster = json!({"server": format!("https://{NAME}:6443"), "proxy-url": proxy_url,
            "certificate-authority-data": STANDARD.encode(&certificate.authority_pem)});
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
        let path = folder.path().join("config");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_imageset-controller"));
        command.args(["status", "--kubeconfig"]).arg(path).env_clear().envs(variables);
        let output = command.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        secret_free(&String::from_utf8_lossy(&text));
        String::from_utf8_lossy(&text).into_owned()
    };
    let address = with_password(&proxy);
    run(None, vec![("HTTPS_PROXY", address.clone())]).await;
    assert_eq!(proxy.requests().first(), Some(&request("CONNECT registry.example:6443")));
    let seen = server.seen().len();
    assert!(seen > 0, "the server behind it was asked");

    run(Some(address.clone()), vec![("NO_PROXY", NAME.to_owned())]).await;
    assert!(server.seen().len() > seen, "what the kubeconfig names is meant");

    let (questions, excepted) = (proxy.requests().len(), ("NO_PROXY", ".example".to_owned()));
    run(None, vec![("https_proxy", address.clone()), excepted]).await;
    assert_eq!(proxy.requests().len(), questions);

    let gone = proxy.host().to_owned();
    proxy.close().await;
    let text = run(None, vec![("HTTPS_PROXY", address.clone())]).await;
    assert!(text.contains(&format!("the proxy http://{gone} of HTTPS_PROXY cannot be reached")), "{text}");
    let text = run(Some(address), Vec::new()).await;
    assert!(text.contains(&format!("the proxy http://{gone} of the kubeconfig's proxy-url cannot be")), "{text}");
    let socks = format!(
        "socks5://{}@127.0.0.1:1080",
        url::form_urlencoded::byte_serialize(CANARY.as_bytes()).collect::<String>()
    );
    let text = run(None, vec![("HTTPS_PROXY", socks)]).await;
    assert!(text.contains("HTTPS_PROXY names a socks5 proxy"), "{text}");
}
