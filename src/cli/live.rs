//! A cluster as verbs that work on files see it: one look with the rights of who asks, and what it says of images. Writes nothing and
//! asks no registry.

use std::collections::BTreeSet;

use super::connection::{self, Connection};
use super::output::Failure;
use crate::cluster::pass::{self, Passed};
use crate::domain::settings::InstallationSettings;
use crate::domain::{Feature, Platform};

/// What was seen.
pub(super) struct Live {
    /// All of it, with what follows.
    pub passed: Passed,
    /// Of the Installation, or of the policy where there is none; nothing where it cannot be read.
    pub settings: Option<InstallationSettings>,
    /// What makes the operator insist on more; all of it where that cannot be read.
    pub features: BTreeSet<Feature>,
    /// Of the nodes.
    pub platforms: BTreeSet<Platform>,
}

/// Looks once.
///
/// # Errors
/// The cluster cannot be reached, or its policy cannot be read.
pub(super) async fn look(connection: &Connection, namespace: &str) -> Result<Live, Failure> {
    let client = connection.client().await?;
    let policy = connection::policy_if_any(&client).await?.unwrap_or_else(connection::defaults);
    let passed = pass::look_at_cluster(client, &policy, namespace.to_owned()).await;
    let snapshot = &passed.snapshot;
    let settings = snapshot.installation.known().map(|installation| match installation {
        Some(installation) => installation.settings.clone(),
        None => snapshot.settings.installation.clone(),
    });
    let features = snapshot.features.known().cloned().unwrap_or_else(|| Feature::ALL.into());
    let platforms = snapshot.nodes.known().map(|nodes| nodes.keys().cloned().collect()).unwrap_or_default();
    Ok(Live { settings, features, platforms, passed })
}
