//! Server-side apply of YAML: custom resource definitions, the manifests of `deploy/`, and test objects.

use super::patience::{SOON, until};
use anyhow::{Context, Result};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind};
use kube::{Api, Client};

/// The field manager of [`apply_yaml`].
pub const FIELD_MANAGER: &str = "testbox";

/// Applies each document in order (field manager [`FIELD_MANAGER`], forced) and returns the stored objects. A namespaced object without
/// a namespace goes to `default`. A CustomResourceDefinition is waited for until its objects can be listed.
/// A status is not applied where the kind has a status subresource (as the API server rules).
///
/// # Errors
/// Text that is not YAML, a kind that the API server doesn't serve within 30 s, or a refusal of the API server.
pub async fn apply_yaml(client: Client, yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut stored = Vec::new();
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(yaml).context("not YAML")?;
    for document in documents {
        let object: DynamicObject = serde_json::from_value(document).context("not a Kubernetes object")?;
        stored.push(apply_object(client.clone(), &object).await?);
    }
    Ok(stored)
}

async fn apply_object(client: Client, object: &DynamicObject) -> Result<DynamicObject> {
    let types = object.types.clone().context("an object without apiVersion and kind")?;
    let name = object.metadata.name.clone().with_context(|| format!("{} without metadata.name", types.kind))?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = served(&client, &kind).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    let stored = api
        .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))
        .await
        .with_context(|| format!("{} {name} was not applied", types.kind))?;
    if types.kind == "CustomResourceDefinition" {
        wait_until_established(&client, &api, &name).await?;
    }
    Ok(stored)
}

/// Discovery of one kind; a kind whose definition was stored a moment ago may take a little to be served.
async fn served(client: &Client, kind: &GroupVersionKind) -> Result<(ApiResource, ApiCapabilities)> {
    until(&format!("{kind:?} to be served"), SOON, async || match pinned_kind(client, kind).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("discovery of {kind:?}")),
    })
    .await
}

fn is_missing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 404 | 503),
        kube::Error::Discovery(_) => true,
        _ => false,
    }
}

/// Waits until a definition is Established and its objects can be listed, which comes a moment later.
async fn wait_until_established(client: &Client, definitions: &Api<DynamicObject>, name: &str) -> Result<()> {
    until(&format!("CustomResourceDefinition {name} to be served"), SOON, async || {
        let definition = definitions.get(name).await?;
        let conditions = definition.data["status"]["conditions"].as_array().into_iter().flatten();
        if !conditions.into_iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            return Ok(None);
        }
        let spec = &definition.data["spec"];
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut versions = spec["versions"].as_array().into_iter().flatten();
        let Some(version) = versions.find(|version| version["served"] == true) else { return Ok(Some(())) };
        let kind = GroupVersionKind::gvk(&text(&spec["group"]), &text(&version["name"]), &text(&spec["names"]["kind"]));
        let resource = ApiResource::from_gvk_with_plural(&kind, &text(&spec["names"]["plural"]));
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        match objects.list(&ListParams::default().limit(1)).await {
            Ok(_) => Ok(Some(())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await
}
