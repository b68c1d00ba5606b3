//! Changes of the policy: the one place where the command line writes to it.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, Resource};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::api::{ImageSetPolicy, POLICY_NAME};
use crate::cli::inputs::policy::request;
use crate::cli::output::Failure;

/// Field manager of changes by the command line.
const FIELD_MANAGER: &str = "imageset-controller-cli";
/// Starts of the names of field managers that restore what Git has.
const GITOPS_MANAGERS: [&str; 6] = ["argocd", "kustomize-controller", "helm", "flux", "fleet", "config"];
/// Where client-side apply keeps what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Changes the policy by a merge patch. Returns false if it has changed since the resourceVersion in the patch.
pub(in crate::cli) async fn apply(client: &Client, patch: &Value) -> Result<bool, Failure> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<ImageSetPolicy>(&()));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match request(api.patch(POLICY_NAME, &parameters, &Patch::Merge(patch))).await? {
        Ok(_) => Ok(true),
        Err(status) if status.code == 409 => Ok(false),
        Err(status) => Err(Failure::new(format!("ImageSetPolicy {POLICY_NAME} cannot be changed: {}", status.message))
            .hint("it takes the right to patch imagesetpolicies.imageset-controller.io")),
    }
}

/// Returns the GitOps tool that owns a field of the spec, and will restore it.
pub(in crate::cli) fn gitops_owner(policy: &ImageSetPolicy, field: &str) -> Option<String> {
    let pointer = format!("/f:spec/f:{field}");
    let applied = policy.annotations().get(LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    policy.meta().managed_fields.iter().flatten().find_map(|entry| {
        let manager =
            entry.manager.as_ref().filter(|manager| GITOPS_MANAGERS.iter().any(|start| manager.starts_with(start)))?;
        entry.fields_v1.as_ref()?.0.pointer(&pointer)?;
        // By client-side apply a tool also owns the defaults of what it created; it restores only what it applied.
        let is_applied = match &applied {
            Some(applied) if entry.operation.as_deref() == Some("Update") => !applied["spec"][field].is_null(),
            _ => true,
        };
        is_applied.then(|| manager.clone())
    })
}
