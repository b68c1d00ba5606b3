//! The only writer of the policy's status and of events: a report becomes a typed status, is compared with what is there, and is
//! applied only if something differs. The only clock in it is that of transitions and of the last verification.

mod events;
mod mapping;

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource};
use serde::Serialize;

use self::events::EventPublisher;
pub use self::mapping::{facts, of_report, remembered, remembered_finding};
use super::client::{REQUEST_DEADLINE, within};
use super::{FIELD_MANAGER, POLICY_NAME};
use crate::api::{ImageSetPolicy, ImageSetPolicyStatus};
use crate::model::{Report, event::Event};

/// Writes the status and the events of one policy.
pub struct StatusWriter {
    client: Client,
    events: EventPublisher,
}

/// What is applied to the status subresource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusPatch<'a> {
    api_version: Cow<'static, str>,
    kind: Cow<'static, str>,
    metadata: ObjectMeta,
    status: &'a ImageSetPolicyStatus,
}

impl StatusWriter {
    /// A writer whose events name this instance.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self { events: EventPublisher::new(client.clone(), instance), client }
    }

    /// Applies the status if it differs from the policy's, and publishes the events. Returns the policy as it was written.
    ///
    /// # Errors
    /// The status could not be applied. An event that fails is only logged.
    pub async fn write(
        &self,
        policy: &ImageSetPolicy,
        status: &ImageSetPolicyStatus,
        events: &[Event],
    ) -> Result<Option<ImageSetPolicy>, kube::Error> {
        let is_the_same = policy.status.as_ref().unwrap_or(&ImageSetPolicyStatus::default()) == status;
        let written = if is_the_same { None } else { Some(self.apply(status).await?) };
        self.events.publish_all(policy, events).await;
        Ok(written)
    }

    async fn apply(&self, status: &ImageSetPolicyStatus) -> Result<ImageSetPolicy, kube::Error> {
        let api: Api<ImageSetPolicy> = Api::all(self.client.clone());
        let patch = StatusPatch {
            api_version: ImageSetPolicy::api_version(&()),
            kind: ImageSetPolicy::kind(&()),
            metadata: ObjectMeta { name: Some(POLICY_NAME.to_owned()), ..ObjectMeta::default() },
            status,
        };
        let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&patch));
        within(REQUEST_DEADLINE, api.patch_status(POLICY_NAME, &parameters, &patch)).await
    }
}

/// Returns the status of the policy after this report.
#[must_use]
pub fn next(policy: &ImageSetPolicy, report: &Report) -> ImageSetPolicyStatus {
    let empty = ImageSetPolicyStatus::default();
    of_report(policy.status.as_ref().unwrap_or(&empty), report, &Time(jiff::Timestamp::now()))
}
