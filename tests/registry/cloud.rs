//! What all tests of cloud identities have in common: a registry under the name of one of a cloud, reached through a proxy, and the
//! services of the cloud on a loopback address. Every secret is the planted one.

use std::ffi::OsString;

use imageset_controller::model::{CloudProvider, Reference};
use imageset_controller::registry::{
    Access, CloudEnvironment, Proxies, RegistryClient, RegistryClientSettings, RegistrySettings,
};

use crate::certificates::ServerCertificate;
use crate::proxy::{Manner, Proxy};
use crate::server::{Reply, Server};
use crate::{good, secret_free};

/// See the module.
pub struct Cloud {
    /// The registry, with TLS.
    pub registry: Server,
    /// Every service of the cloud, without.
    pub services: Server,
    /// How the registry is reached.
    pub access: Access,
    pub proxy: Proxy,
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Cloud {
    /// A registry of this name and cloud, with nothing to say yet.
    pub async fn start(host: &str, provider: CloudProvider) -> Self {
        let certificate = ServerCertificate::create_with("an authority of nobody", &[host], |_| {}).unwrap();
        let registry = Server::start_http2(&certificate).await;
        let proxy = Proxy::start(&registry, Manner::Open, None).await;
        let settings = RegistrySettings {
            host: host.to_owned(),
            provider: Some(provider),
            ca_pem: Some(certificate.authority_pem.into_bytes()),
            ..RegistrySettings::default()
        };
        let access = Access { registries: vec![settings], ..Access::default() };
        let (services, folder) = (Server::start().await, tempfile::tempdir().unwrap());
        Self { registry, services, access, proxy, folder, variables: Vec::new() }
    }

    /// The same with one more variable.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, value.into()));
        self
    }

    /// The same with a variable that names a file with this text.
    pub fn with_file(self, name: &'static str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        self.with(name, path)
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> String {
        self.variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone()).unwrap()
    }

    /// The folder of the files.
    pub fn folder(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }

    /// The same with a variable that names a path of the services.
    pub fn with_service(self, name: &'static str, path: &str) -> Self {
        let url = self.services.url(path);
        self.with(name, url)
    }

    /// A client that has asked for nothing yet.
    pub fn client(&self) -> RegistryClient {
        let value = |name: &str| {
            self.variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value))
        };
        let proxy = format!("http://{}", self.proxy.host());
        let proxies = Proxies::of_variables(|name| (name == "HTTPS_PROXY").then(|| proxy.clone().into()));
        let settings = RegistryClientSettings {
            proxies,
            cloud: CloudEnvironment::of_variables(value),
            ..RegistryClientSettings::default()
        };
        secret_free(&format!("{settings:?}"));
        RegistryClient::new(settings)
    }

    /// Images of the registry that are there for those who show this; everything else is answered with `challenge`.
    pub fn images(&self, count: usize, challenge: &Reply, authorization: &str) -> Vec<Reference> {
        let host = &self.access.registries[0].host;
        self.registry.on("/v2/", challenge.clone());
        let names = (0..count).map(|number| format!("calico/image-{number}"));
        let image = |name: String| {
            self.registry.on_manifest(&name, challenge.clone().but_to(authorization, good(&name)));
            format!("{host}/{name}:v1").parse().unwrap()
        };
        names.map(image).collect()
    }

    /// `METHOD path` of every request that the services received.
    pub fn asked(&self) -> Vec<String> {
        self.services.requests()
    }
}
