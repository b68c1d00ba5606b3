//! How the registries of one policy are reached: pull secrets in the Installation's order, and the policy's
//! `registries[]` with their credentials and authorities. Secrets are read only before lookups,
//! and no byte of them gets into a finding.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::request::read;
use crate::api::{ImageSetPolicy, ImageSetPolicySpec, Provider, RegistryAccess};
use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{
    CloudProvider, Finding, InstallationSettings, Kind, ObjectRef, Read, Reason, foreign_text::escaped,
};
use crate::registry::{self, Access, ClientCertificate, DockerConfig, RegistrySettings, holds_certificate};

/// How long credentials hold while no lookup is due: shorter than the pause while a person may correct them.
const HOLDS_FOR: Duration = Duration::from_secs(25);

/// How the registries are reached, as it was read last. Nobody watches Secrets.
#[derive(Default)]
pub struct CachedAccess(Option<KnownAccess>);

struct KnownAccess {
    /// Of the policy, by what changes with it, and of the Installation.
    of: (Option<String>, Option<i64>, InstallationSettings),
    at: Instant,
    access: Access,
    findings: Vec<Finding>,
}

impl CachedAccess {
    /// What is known, or read now; with findings about what cannot be read.
    pub async fn of(
        &mut self,
        client: &Client,
        policy: &ImageSetPolicy,
        installation: &InstallationSettings,
    ) -> (Access, Vec<Finding>) {
        let of = (policy.uid(), policy.metadata.generation, installation.clone());
        if let Some(known) = self.0.as_ref().filter(|known| known.of == of && known.at.elapsed() < HOLDS_FOR) {
            return (known.access.clone(), known.findings.clone());
        }
        let (access, findings) = registry_access(client, &policy.spec, installation).await;
        self.0 = Some(KnownAccess { of, at: Instant::now(), access: access.clone(), findings: findings.clone() });
        (access, findings)
    }

    /// What was read counts no more.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}

/// Reads all that is needed. What cannot be read is a finding, and the access goes without it.
pub async fn registry_access(
    client: &Client,
    spec: &ImageSetPolicySpec,
    installation: &InstallationSettings,
) -> (Access, Vec<Finding>) {
    let namespace = &spec.operator.namespace;
    let secrets = installation.image_pull_secrets.iter().map(|name| docker_config(client, namespace, name));
    let registries = spec.registries.iter().map(|entry| registry_settings(client, entry));
    // Side by side: the time that reading takes does not grow with their number.
    let (secrets, registries) = futures::join!(join_all(secrets), join_all(registries));
    let mut findings = Vec::new();
    let mut access = Access::default();
    for secret in secrets {
        match secret {
            Ok((config, objection)) => {
                access.credentials.push(config);
                findings.extend(objection);
            }
            Err(finding) => findings.push(finding),
        }
    }
    for (settings, objections) in registries {
        access.registries.push(settings);
        findings.extend(objections);
    }
    (access, findings)
}

async fn registry_settings(client: &Client, entry: &RegistryAccess) -> (RegistrySettings, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut settings = RegistrySettings {
        host: entry.host.clone(),
        mirror: entry.mirror.clone(),
        provider: match entry.provider {
            Provider::Generic => None,
            Provider::Aws => Some(CloudProvider::Aws),
            Provider::Gcp => Some(CloudProvider::Gcp),
            Provider::Azure => Some(CloudProvider::Azure),
        },
        token_service: entry.token_service.clone(),
        plain_http: entry.plain_http,
        ..RegistrySettings::default()
    };
    let credentials = async {
        let secret = &entry.credentials.as_ref()?.secret_ref;
        Some(docker_config(client, &secret.namespace, &secret.name).await)
    };
    let bundle = async { Some(authorities(client, entry.ca_bundle.as_ref()?).await) };
    let certificate = async {
        let secret = &entry.client_certificate.as_ref()?.secret_ref;
        Some(client_certificate(client, &secret.namespace, &secret.name).await)
    };
    let (credentials, bundle, certificate) = futures::join!(credentials, bundle, certificate);
    match credentials.transpose() {
        Ok(Some((config, objection))) => {
            settings.credentials = Some(config);
            findings.extend(objection);
        }
        Ok(None) => {}
        Err(finding) => findings.push(finding),
    }
    match bundle.transpose() {
        Ok(pem) => settings.ca_pem = pem,
        Err(finding) => findings.push(finding),
    }
    match certificate.transpose() {
        Ok(certificate) => settings.client_certificate = certificate,
        Err(finding) => findings.push(finding),
    }
    (settings, findings)
}

/// Returns the credentials of a Secret, with a finding about entries that cannot be used.
async fn docker_config(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<(DockerConfig, Option<Finding>), Finding> {
    let object = ObjectRef::namespaced(Kind::Secret, namespace, name);
    let data = secret_data(client, namespace, name)
        .await
        .map_err(|message| Finding::new(Reason::PullSecretMissing, object.clone(), message))?;
    let invalid = |message: String| Finding::new(Reason::PullSecretInvalid, object.clone(), message);
    let parsed = if let Some(ByteString(text)) = data.get(".dockerconfigjson") {
        DockerConfig::parse_dockerconfigjson(text)
    } else if let Some(ByteString(text)) = data.get(".dockercfg") {
        DockerConfig::parse_dockercfg(text)
    } else {
        return Err(invalid("it has neither .dockerconfigjson nor .dockercfg".to_owned()));
    };
    let config = parsed.map_err(|error| invalid(error.to_string()))?;
    let objections: Vec<String> = config.objections().iter().map(ToString::to_string).collect();
    let objection = (!objections.is_empty()).then(|| {
        let message = list_first(&objections, MOST_NAMED);
        Finding::new(Reason::PullSecretEntryInvalid, object.clone(), message)
    });
    Ok((config, objection))
}

async fn client_certificate(client: &Client, namespace: &str, name: &str) -> Result<ClientCertificate, Finding> {
    let object = ObjectRef::namespaced(Kind::Secret, namespace, name);
    let invalid = |message: String| Finding::new(Reason::ClientCertificateInvalid, object.clone(), message);
    let mut data = secret_data(client, namespace, name).await.map_err(&invalid)?;
    let mut value = |key: &str| -> Result<Vec<u8>, Finding> {
        let ByteString(value) = data.remove(key).ok_or_else(|| invalid(format!("it has no key {key}")))?;
        Ok(value)
    };
    let (chain, key) = (value("tls.crt")?, value("tls.key")?);
    // A key in PEM is text; what is none is refused below.
    let key = registry::Secret::new(String::from_utf8(key).unwrap_or_default());
    ClientCertificate::new(chain, key).map_err(|error| invalid(error.to_string()))
}

async fn authorities(client: &Client, bundle: &crate::api::CaBundle) -> Result<Vec<u8>, Finding> {
    let invalid = |object: ObjectRef, message: String| Finding::new(Reason::CaBundleInvalid, object, message);
    let (object, pem) = if let Some(key) = &bundle.config_map_ref {
        let object = ObjectRef::namespaced(Kind::ConfigMap, &key.namespace, &key.name);
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &key.namespace);
        let map = match read(&format!("get {object}"), api.get_opt(&key.name)).await {
            Read::Known(Some(map)) => map,
            Read::Known(None) | Read::KindMissing => return Err(invalid(object, "it does not exist".to_owned())),
            Read::Failed(failure) => return Err(invalid(object, failure.message)),
        };
        let text = map.data.and_then(|mut data| data.remove(&key.key)).map(String::into_bytes);
        (object, text.ok_or_else(|| format!("it has no key {}", key.key)))
    } else if let Some(key) = &bundle.secret_ref {
        let object = ObjectRef::namespaced(Kind::Secret, &key.namespace, &key.name);
        let data = secret_data(client, &key.namespace, &key.name).await;
        let mut data = data.map_err(|message| invalid(object.clone(), message))?;
        (object, data.remove(&key.key).map(|ByteString(pem)| pem).ok_or_else(|| format!("it has no key {}", key.key)))
    } else {
        return Err(invalid(ObjectRef::policy(), "caBundle names no object".to_owned()));
    };
    let pem = pem.map_err(|message| invalid(object.clone(), message))?;
    match holds_certificate(&pem) {
        true => Ok(pem),
        false => Err(invalid(object, "it holds no certificate in PEM".to_owned())),
    }
}

async fn secret_data(client: &Client, namespace: &str, name: &str) -> Result<BTreeMap<String, ByteString>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match read(&format!("get secrets {namespace}/{name}"), api.get_opt(name)).await {
        Read::Known(Some(secret)) => Ok(secret.data.unwrap_or_default()),
        Read::Known(None) | Read::KindMissing => Err("it does not exist".to_owned()),
        Read::Failed(failure) => Err(escaped(&failure.message)),
    }
}
