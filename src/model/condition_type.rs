//! The types of the policy's conditions. `docs/reference/conditions.md` is generated from this list.

use crate::model::explained::explained;

explained! {
    /// The type of a condition of the policy. Each condition answers one question about the cluster.
    ConditionType,
    /// Returns the question that the condition answers with True or False.
    question:
    Ready "Is everything done that this generation of the policy asks for, as far as it can be?",
    Reconciling "Is something under way?",
    Stalled "Does it take a person to get on?",
    VersionKnown "Do we know which operator version runs and which one is to run?",
    Resolved "Does the registry serve every image of the wanted sets, for every node?",
    Applied "Is the set of the target version stored?",
    Prepared "Is every version of `prepare.versions` staged?",
    Adopted "Does the operator use the set, in every workload?",
    Drifted "Does something differ from what is pinned, or will?",
    OperatorDegraded "Does a TigeraStatus say Degraded?",
    ImagePullFailing "Is there a pod that cannot pull or run a pinned image?",
}

impl ConditionType {
    /// Whether the status True calls for attention.
    #[must_use]
    pub const fn is_abnormal_true(self) -> bool {
        matches!(
            self,
            Self::Reconciling | Self::Stalled | Self::Drifted | Self::OperatorDegraded | Self::ImagePullFailing
        )
    }

    /// Whether the condition is about the observed cluster and its registry only, whatever the policy requires.
    #[must_use]
    pub const fn is_about_cluster(self) -> bool {
        matches!(self, Self::Drifted | Self::OperatorDegraded | Self::ImagePullFailing)
    }

    /// Whether kstatus defines the condition, for GitOps tools that do not know this kind.
    #[must_use]
    pub const fn is_kstatus(self) -> bool {
        matches!(self, Self::Ready | Self::Reconciling | Self::Stalled)
    }
}
