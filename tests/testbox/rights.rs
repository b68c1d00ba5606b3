//! What `kubectl apply -k deploy/base` puts into a cluster, less the Deployment and the Service (nothing runs pods here):
//! our CRD, the namespaces, the ServiceAccount and its rights, and what limits it, from the very files.

use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Client;
use kube::api::{Api, PostParams};

use super::apply_yaml;
use super::patience::{SOON, until};

/// Namespace and name of the ServiceAccount.
pub const SERVICE_ACCOUNT: (&str, &str) = ("imageset-controller", "imageset-controller");
/// In the order in which they can be applied, after the definition of our kind.
const FILES: [&str; 9] = [
    "deploy/base/namespace.yaml",
    "deploy/base/service-account.yaml",
    "deploy/base/rights-cluster.yaml",
    "deploy/base/rights-own-namespace.yaml",
    "deploy/base/rights-operator-namespace.yaml",
    "deploy/base/rights-events.yaml",
    "deploy/base/inspection.yaml",
    "deploy/base/network-policy.yaml",
    "deploy/base/critical-pods.yaml",
];

/// Applies them, and before them the operator's namespace, in which one Role lives.
///
/// # Errors
/// A file can't be read, or the API server refuses an object.
pub async fn install(client: &Client) -> Result<()> {
    apply_yaml(client.clone(), "{apiVersion: v1, kind: Namespace, metadata: {name: tigera-operator}}").await?;
    install_kind(client).await?;
    for file in FILES {
        apply_file(client, file).await?;
    }
    Ok(())
}

/// The definition of ImageSetPolicy alone.
///
/// # Errors
/// As [`install`].
pub async fn install_kind(client: &Client) -> Result<()> {
    apply_file(client, "crds/imageset-controller.io_imagesetpolicies.yaml").await
}

async fn apply_file(client: &Client, file: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    apply_yaml(client.clone(), &text).await.with_context(|| format!("applying {file}"))?;
    Ok(())
}

/// One request that a rule can allow.
#[derive(Clone, Debug)]
pub struct Right {
    namespace: Option<String>,
    group: String,
    resource: String,
    verb: String,
    /// Empty: any object.
    name: String,
}

impl Right {
    /// All that a rule allows, in this namespace or, without one, in all.
    pub fn all_of(namespace: Option<&str>, rule: &PolicyRule) -> Vec<Self> {
        let any = [String::new()];
        let names = rule.resource_names.as_deref().filter(|names| !names.is_empty()).unwrap_or(&any);
        let mut rights = Vec::new();
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    rights.extend(names.iter().map(|name| Self {
                        namespace: namespace.map(str::to_owned),
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: verb.clone(),
                        name: name.clone(),
                    }));
                }
            }
        }
        rights
    }

    /// Whether this rule, in this namespace or in all, allows it as well.
    pub fn is_allowed_by(&self, namespace: Option<&str>, rule: &PolicyRule) -> bool {
        let has = |list: &Option<Vec<String>>, word: &String| list.as_ref().is_some_and(|list| list.contains(word));
        let names = rule.resource_names.as_deref().unwrap_or_default();
        (namespace.is_none() || namespace == self.namespace.as_deref())
            && has(&rule.api_groups, &self.group)
            && has(&rule.resources, &self.resource)
            && rule.verbs.contains(&self.verb)
            && (names.is_empty() || names.contains(&self.name))
    }

    /// Waits until the API server decides so about our account: it learns of a changed role by a watch of its own.
    ///
    /// # Errors
    /// It does not within [`SOON`].
    pub async fn until_allowed(&self, client: &Client, allowed: bool) -> Result<()> {
        let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
        let (namespace, account) = SERVICE_ACCOUNT;
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), Some(subresource.to_owned())),
            None => (self.resource.clone(), None),
        };
        let attributes = ResourceAttributes {
            namespace: self.namespace.clone(),
            group: Some(self.group.clone()),
            resource: Some(resource),
            subresource,
            verb: Some(self.verb.clone()),
            name: Some(self.name.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{account}")),
            groups: Some(vec!["system:serviceaccounts".to_owned(), "system:authenticated".to_owned()]),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        until(&format!("the API server to decide allowed={allowed} about {self:?}"), SOON, async || {
            let decided = reviews.create(&PostParams::default(), &review).await?;
            Ok((decided.status.is_some_and(|status| status.allowed) == allowed).then_some(()))
        })
        .await
    }
}
