//! Starts and ends inspection Jobs.

use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Preconditions};

use super::{WriteError, Writer, Written, created_by_us, delete, within};
use crate::api::InspectionRules;
use crate::api::workload::Job;
use crate::inspection::job::{self, LABEL};
use crate::model::StartInspection;

impl Writer {
    /// Creates the Job: one of this name that exists already inspects the same image.
    pub(super) async fn start(
        &self,
        start: &StartInspection,
        inspection: &InspectionRules,
    ) -> Result<Option<Written>, WriteError> {
        let resource = ApiResource::erase::<Job>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &inspection.namespace, &resource);
        let object: DynamicObject = serde_json::from_value(job::build(start, inspection))?;
        match within(api.create(&created_by_us(), &object)).await {
            Ok(created) => Ok(created.try_parse().ok().map(|job| Written::Job(Box::new(job)))),
            Err(error) if error.already_exists() => {
                Err(self.unlabelled_job(&start.name(), &inspection.namespace).await?.unwrap_or(error))
            }
            Err(error) => Err(error),
        }
    }

    /// What is in the way of a Job that was not listed: one that has lost its label is deleted, and the next reconcile creates it
    /// again; the controller has no right to change Jobs. Anything else is not managed by the controller, and left as it is. `None`
    /// where it has its label or is gone.
    async fn unlabelled_job(&self, name: &str, namespace: &str) -> Result<Option<WriteError>, WriteError> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let named = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = within(api.list(&named)).await?.items.pop();
        let Some(found) = found else { return Ok(None) };
        if job::parse(&found).is_none() {
            let message = "a Job of this name exists that the controller did not create; it is left as it is";
            return Ok(Some(WriteError::NotManaged(message.to_owned())));
        }
        if found.labels().contains_key(LABEL) {
            return Ok(None);
        }
        self.end(namespace, name, &found.uid().unwrap_or_default()).await?;
        Ok(Some(WriteError::Recovered("it had lost its label and is deleted; it is made again")))
    }

    /// Deletes a Job with its pod.
    pub(super) async fn end(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<Written>, WriteError> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let this_one = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
        let parameters = DeleteParams::background().preconditions(this_one);
        delete(&api, name, &parameters).await?;
        Ok(Some(Written::NoJob(name.to_owned())))
    }
}
