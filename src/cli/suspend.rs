//! `suspend` and `resume`: one field of the policy, and what it means.

use clap::Args;
use serde_json::json;

use super::connection::{self, Connection, POLICY};
use super::output::{Answer, Failure, note};
use super::runtime;

/// Which cluster.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: &Arguments, suspend: bool) -> Result<Answer, Failure> {
    let done = if suspend { "suspended" } else { "resumed" };
    let policy = runtime()?.block_on(async {
        let client = arguments.connection.client().await?;
        let policy = connection::stored_policy(&client).await?;
        if policy.spec.suspend != suspend {
            connection::patch(&client, &json!({ "spec": { "suspend": suspend } })).await?;
        }
        Ok::<_, Failure>(policy)
    })?;
    if policy.spec.suspend == suspend {
        let so = if suspend { "was suspended already" } else { "was not suspended" };
        return Ok(Answer::text(format!("{POLICY} {so}")));
    }
    if let Some(owner) = connection::owner_in_git(&policy, "suspend") {
        note(&format!(
            "warning: {owner} owns spec.suspend and will set it back to what Git says; change it there, too"
        ));
    }
    if suspend {
        note(
            "note: no set, record or gate changes from now on, and the gate admits what it admits now; go on with: resume",
        );
    }
    Ok(Answer::text(format!("{POLICY} {done}")))
}
