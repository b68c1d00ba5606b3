//! Certificates: a registry's own one given as trusted, client certificates, and the words about those that cannot work.

use std::sync::Arc;

use imageset_controller::model::{FailureCause, Reason, RegistryFailure};
use imageset_controller::registry::{Access, ClientCertificate, InvalidClientCertificate, RegistrySettings, Secret};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::certificates::ServerCertificate;
use crate::server::{Reply, Server};
use crate::{good, look_up, patient, reference};

/// A certificate that nobody else signed, for these names.
fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> ServerCertificate {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut certificate = CertificateParams::new(names).unwrap();
    change(&mut certificate);
    let key = KeyPair::generate().unwrap();
    let pem = certificate.self_signed(&key).unwrap().pem();
    ServerCertificate { authority_pem: pem.clone(), certificate_pem: pem, key_pem: key.serialize_pem() }
}

fn as_authority(certificate: &mut CertificateParams) {
    certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn expired(certificate: &mut CertificateParams) {
    certificate.not_after = rcgen::date_time_ymd(2020, 1, 1);
}

fn access(server: &Server, ca_pem: Option<&str>, client_certificate: Option<ClientCertificate>) -> Access {
    let settings = RegistrySettings {
        host: server.host().to_owned(),
        ca_pem: ca_pem.map(|pem| pem.as_bytes().to_vec()),
        client_certificate,
        ..RegistrySettings::default()
    };
    Access { registries: vec![settings], ..Access::default() }
}

async fn asked(certificate: &ServerCertificate, ca_pem: Option<&str>) -> Result<(), RegistryFailure> {
    let server = Server::start_at("127.0.0.1", Some(certificate)).await;
    server.on_manifest("calico/node", good("node"));
    let access = access(&server, ca_pem, None);
    look_up(&patient(), &access, &reference(&server, "calico/node")).await.map(drop)
}

/// As with Go: what was given for exactly this registry needs no issuer, and may call itself an authority.
#[tokio::test]
async fn a_registrys_own_certificate_can_be_given_as_trusted() {
    for certificate in [
        self_signed(&["127.0.0.1"], |_| {}),
        self_signed(&["127.0.0.1"], as_authority),
        ServerCertificate::create("an authority that is not given").unwrap(),
    ] {
        asked(&certificate, Some(&certificate.certificate_pem)).await.unwrap();
        let failure = asked(&certificate, None).await.unwrap_err();
        assert_eq!(Reason::from(&failure), Reason::RegistryCertificateInvalid, "{failure}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let other = ServerCertificate::create("another authority").unwrap().authority_pem;
    let own = |certificate: &ServerCertificate| Some(certificate.certificate_pem.clone());
    let plain = self_signed(&["127.0.0.1"], |_| {});
    let authority = self_signed(&["127.0.0.1"], as_authority);
    let nameless = self_signed(&[], |_| {});
    let elsewhere = self_signed(&["registry.example"], as_authority);
    let old = self_signed(&["127.0.0.1"], |certificate| {
        as_authority(certificate);
        expired(certificate);
    });
    for (certificate, given, cause, words) in [
        (&plain, None, FailureCause::CertificateOfUnknownAuthority, "no authority that is trusted here"),
        (&authority, Some(other), FailureCause::CertificateOfAuthority, "CA:TRUE"),
        (&nameless, own(&nameless), FailureCause::CertificateWithoutName, "subjectAltName"),
        (&elsewhere, own(&elsewhere), FailureCause::CertificateOfOtherName, "names"),
        (&old, own(&old), FailureCause::CertificateExpired, "renew"),
    ] {
        let failure = asked(certificate, given.as_deref()).await.unwrap_err();
        assert_eq!(failure.cause, Some(cause), "{failure}");
        assert!(failure.summary().contains(words), "{words}: {failure}");
    }
}

#[tokio::test]
async fn a_port_that_speaks_the_other_protocol_is_named() {
    let clear = Server::start().await;
    clear.on_manifest("calico/node", good("node"));
    let failure = look_up(&patient(), &Access::default(), &reference(&clear, "calico/node")).await.unwrap_err();
    assert_eq!((failure.cause, Reason::from(&failure)), (Some(FailureCause::PlainHttp), Reason::RegistryWithoutTls));
    assert!(failure.summary().contains("answers without TLS"), "{failure}");

    let certificate = ServerCertificate::create("an authority").unwrap();
    let secure = Server::start_at("127.0.0.1", Some(&certificate)).await;
    let failure = look_up(&patient(), &crate::plain(&[&secure]), &reference(&secure, "calico/node")).await.unwrap_err();
    assert_eq!(failure.cause, Some(FailureCause::SpeaksTls), "{failure}");
    let page = Reply::new(400, "text/html", "The plain HTTP request was sent to HTTPS port");
    clear.on_manifest("calico/node", page);
    let failure = look_up(&patient(), &crate::plain(&[&clear]), &reference(&clear, "calico/node")).await.unwrap_err();
    assert_eq!(failure.cause, Some(FailureCause::SpeaksTls), "{failure}");
}

#[tokio::test]
async fn localhost_is_named_as_every_machines_own() {
    let server = Server::start().await;
    let node = format!("localhost:{}/calico/node:v1", server.host().rsplit(':').next().unwrap()).parse().unwrap();
    server.close().await;
    let failure = look_up(&patient(), &Access::default(), &node).await.unwrap_err();
    assert_eq!((failure.cause, Reason::from(&failure)), (Some(FailureCause::OnlyOnNodes), Reason::RegistryUnreachable));
    assert!(failure.summary().contains("localhost is every machine itself"), "{failure}");
}

/// HTTPS that asks for a client certificate of this authority.
fn demanding(certificate: &ServerCertificate, clients: &ServerCertificate) -> TlsAcceptor {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.authority_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn client_certificate(certificate: &ServerCertificate) -> ClientCertificate {
    let key = Secret::new(certificate.key_pem.clone());
    ClientCertificate::new(certificate.certificate_pem.clone().into_bytes(), key).unwrap()
}

#[tokio::test]
async fn a_client_certificate_is_presented_to_the_registry_and_to_no_other_host() {
    let server_certificate = ServerCertificate::create("an authority").unwrap();
    let client = ServerCertificate::create_with("clients", &["robot"], |certificate| {
        certificate.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let client = client.unwrap();
    let server = Server::start_with_tls("127.0.0.1", demanding(&server_certificate, &client)).await;
    let other = Server::start_with_tls("127.0.0.2", demanding(&server_certificate, &client)).await;
    server.on_manifest("calico/node", good("node"));
    let node = reference(&server, "calico/node");
    let ca = Some(server_certificate.authority_pem.as_str());
    let failure = look_up(&patient(), &access(&server, ca, None), &node).await.unwrap_err();
    assert_eq!(failure.cause, Some(FailureCause::ClientCertificateRequired), "{failure}");
    assert_eq!(Reason::from(&failure), Reason::RegistryUnauthorized);
    let with = access(&server, ca, Some(client_certificate(&client)));
    look_up(&patient(), &with, &node).await.unwrap();
    assert!(!format!("{with:?}").contains("PRIVATE KEY"));

    server.on_manifest("calico/node", Reply::status(307).with("location", &other.url("/v2/x")));
    look_up(&patient(), &with, &node).await.unwrap_err();
    assert!(other.seen().is_empty() && other.connections() > 0, "the other host asked in vain");
}

#[test]
fn client_certificates_that_cannot_be_used_are_named() {
    let (one, other) = (ServerCertificate::create("one").unwrap(), ServerCertificate::create("other").unwrap());
    let made = |chain: &str, key: &str| ClientCertificate::new(chain.as_bytes().to_vec(), Secret::new(key.to_owned()));
    assert!(made(&one.certificate_pem, &one.key_pem).is_ok());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (chain, key, error) in [
        (one.certificate_pem.as_str(), other.key_pem.as_str(), InvalidClientCertificate::Unusable),
        ("", &one.key_pem, InvalidClientCertificate::NoCertificate),
        ("nonsense", &one.key_pem, InvalidClientCertificate::NoCertificate),
        (&one.certificate_pem, "", InvalidClientCertificate::NoKey),
        (&one.certificate_pem, &one.certificate_pem, InvalidClientCertificate::NoKey),
        (&one.certificate_pem, encrypted, InvalidClientCertificate::EncryptedKey),
    ] {
        assert_eq!(made(chain, key).unwrap_err(), error);
    }
}
