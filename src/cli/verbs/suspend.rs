//! `suspend` and `resume`: the field `spec.suspend` of the policy.

use clap::Args;
use serde_json::json;

use crate::cli::edits::policy_patch;
use crate::cli::flags::cluster::ClusterFlags;
use crate::cli::inputs::policy::{self, POLICY};
use crate::cli::output::{Failure, Output, note};
use crate::cli::runtime::runtime;

/// Which cluster.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    cluster: ClusterFlags,
}

pub(in crate::cli) fn run(arguments: &Arguments, suspend: bool) -> Result<Output, Failure> {
    let done = if suspend { "suspended" } else { "resumed" };
    let policy = runtime()?.block_on(async {
        let client = arguments.cluster.client().await?;
        let policy = policy::require(&client).await?;
        if policy.spec.suspend != suspend {
            policy_patch::apply(&client, &json!({ "spec": { "suspend": suspend } })).await?;
        }
        Ok::<_, Failure>(policy)
    })?;
    if policy.spec.suspend == suspend {
        let so = if suspend { "was suspended already" } else { "was not suspended" };
        return Ok(Output::text(format!("{POLICY} {so}")));
    }
    if let Some(owner) = policy_patch::gitops_owner(&policy, "suspend") {
        note(&format!(
            "warning: {owner} owns spec.suspend and will set it back to what Git says; change it there, too"
        ));
    }
    if suspend {
        note(
            "note: no set, record or gate changes from now on, and the gate admits what it admits now; go on with: resume",
        );
    }
    Ok(Output::text(format!("{POLICY} {done}")))
}
