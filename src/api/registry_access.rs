//! The part of an `ImageSetPolicy` about access to registries. Doc comments are the descriptions that `kubectl explain` shows.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema_text;

/// How to reach one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(self.plainHttp && has(self.caBundle))")
    .message("remove caBundle or set plainHttp to false: plain HTTP uses no certificates")
    .field_path(".plainHttp"))]
#[x_kube(validation = Rule::new("self.provider == 'Generic' || !has(self.credentials)")
    .message("remove credentials or set provider to Generic: a cloud issues credentials of its own")
    .field_path(".provider"))]
#[x_kube(validation = Rule::new("self.provider == 'Generic' || !self.plainHttp")
    .message("set plainHttp to false or provider to Generic: a token of a cloud is not sent without TLS")
    .field_path(".provider"))]
#[x_kube(validation = Rule::new("!(self.plainHttp && has(self.clientCertificate))")
    .message("remove clientCertificate or set plainHttp to false: plain HTTP uses no certificates")
    .field_path(".plainHttp"))]
pub struct RegistryAccess {
    /// Host, with its port if it has one, as it stands in references.
    #[schemars(schema_with = "schema_text::host")]
    pub host: String,
    /// Where to ask instead, as the nodes' container runtime is configured to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema_text::mirror")]
    pub mirror: Option<String>,
    /// The cloud whose identity the controller uses for this registry: AWS for ECR, GCP for Artifact Registry, Azure for ACR.
    /// Generic uses pull secrets.
    #[serde(default)]
    pub provider: Provider,
    /// Credentials, where the Installation names no secret because the nodes have a credential provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Host of the token service, where it isn't on the registry's own domain. Credentials go to no other host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema_text::host")]
    pub token_service: Option<String>,
    /// Certificate authorities to trust for this registry, besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Client certificate, where the registry asks for one. No other host gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// Talks to the registry without TLS. Digests are still verified; credentials travel readable.
    #[serde(default)]
    pub plain_http: bool,
}

/// Where the credentials of a registry come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Provider {
    /// Pull secrets of the Installation, and the credentials that the policy names.
    #[default]
    Generic,
    /// The controller's identity in AWS: a role by IRSA, EKS Pod Identity or the node's instance profile.
    #[serde(rename = "AWS")]
    Aws,
    /// The controller's identity in Google Cloud: Workload Identity, or a credentials file.
    #[serde(rename = "GCP")]
    Gcp,
    /// The controller's identity in Azure: Workload Identity, or a managed identity.
    Azure,
}

/// Where credentials are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg. The controller needs the right to get
    /// it by name.
    pub secret_ref: SecretKey,
}

/// Where a client certificate is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// Secret of type kubernetes.io/tls: tls.crt with the chain, tls.key without a password. The controller needs the right
    /// to get it by name.
    pub secret_ref: SecretKey,
}

/// A Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Namespace of the Secret.
    #[schemars(schema_with = "schema_text::namespace")]
    pub namespace: String,
    /// Name of the Secret.
    #[schemars(schema_with = "schema_text::object_name")]
    pub name: String,
}

/// Where certificate authorities are kept: in a ConfigMap or in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapRef) != has(self.secretRef)")
    .message("name one place of the certificates: either configMapRef or secretRef"))]
pub struct CaBundle {
    /// ConfigMap with certificates in PEM form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ObjectKey>,
    /// Secret with certificates in PEM form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ObjectKey>,
}

/// One key of a ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectKey {
    /// Namespace of the object.
    #[schemars(schema_with = "schema_text::namespace")]
    pub namespace: String,
    /// Name of the object.
    #[schemars(schema_with = "schema_text::object_name")]
    pub name: String,
    /// Key in its data.
    #[serde(default = "ca_key")]
    #[schemars(schema_with = "schema_text::data_key")]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}
