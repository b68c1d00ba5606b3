//! The admission gate: which operator images the operator's Deployment may have, and whether an unprepared one is admitted with a
//! warning or rejected. The API server evaluates the gate, from the list in the policy's status.

use std::collections::BTreeSet;

use crate::model::{
    Action, Decision, Enforcement, Finding, Gate, GateState, Goal, Mode, ObjectRef, Read, Reason, Settings, Snapshot,
};
use crate::rules::version::operator_digests::{OperatorDigests, ready};

/// The write and the findings about the gate in this reconcile.
#[derive(Debug, Default)]
pub(crate) struct GatePlan {
    pub action: Option<Action>,
    pub findings: Vec<Finding>,
}

/// Whether the policy requires a gate.
pub(crate) fn is_enabled(settings: &Settings) -> bool {
    enforcement(settings.gate, settings.mode).is_some()
}

/// Returns how the gate treats an unprepared image. In mode Observe it rejects nothing.
const fn enforcement(gate: Gate, mode: Mode) -> Option<Enforcement> {
    match (gate, mode) {
        (Gate::Disabled, _) => None,
        (Gate::Warn, _) | (Gate::Deny, Mode::Observe) => Some(Enforcement::Warn),
        (Gate::Deny, Mode::Apply) => Some(Enforcement::Deny),
    }
}

/// Plans to create, update or delete the gate.
pub(crate) fn plan(snapshot: &Snapshot) -> GatePlan {
    let settings = &snapshot.settings;
    let mut plan = GatePlan::default();
    let enforcement = enforcement(settings.gate, settings.mode);
    match &snapshot.gate {
        Read::Known(GateState::NotManaged) => {
            if enforcement.is_some() {
                let message = "the controller did not create it, and leaves it as it is";
                plan.findings.push(Finding::new(Reason::GateNotManaged, ObjectRef::gate(), message));
            }
        }
        Read::Known(seen) => {
            if *seen != GateState::from(enforcement) {
                plan.action = Some(Action::SetGate(enforcement));
            }
        }
        Read::KindMissing if enforcement.is_some() => {
            let message =
                "this Kubernetes has no ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1, from 1.30 on)";
            plan.findings.push(Finding::new(Reason::GateUnsupported, ObjectRef::policy(), message));
        }
        Read::KindMissing | Read::Failed(_) => {}
    }
    if enforcement.is_none() {
        return plan;
    }
    if let Some(image) = passed_by_annotation(snapshot) {
        let message = format!("{image} passed by annotation");
        plan.findings.push(Finding::new(Reason::GlassBroken, settings.operator.object(), message));
    }
    plan
}

/// Returns the operator image, if the break-glass annotation of the Deployment names it.
fn passed_by_annotation(snapshot: &Snapshot) -> Option<&str> {
    let deployment = snapshot.operator.known()?.as_ref()?;
    deployment.image.as_deref().filter(|image| deployment.break_glass.as_deref() == Some(*image))
}

/// Returns the operator image that was admitted since the previous reconcile by the annotation alone, for one event.
pub(crate) fn admitted_by_annotation(snapshot: &Snapshot) -> Option<&str> {
    let (remembered, admitted) = (&snapshot.remembered, snapshot.remembered.admitted_images.as_ref());
    let before = remembered.target_image.as_deref().filter(|_| is_enabled(&snapshot.settings))?;
    let image = passed_by_annotation(snapshot).filter(|image| *image != before)?;
    (!admitted?.iter().any(|admitted| admitted == image)).then_some(image)
}

/// Returns the images that the gate admits after the writes, each by tag, by tag and digest, and by digest; `None` without a
/// gate.
pub(crate) fn admitted_images(
    snapshot: &Snapshot,
    decision: &Decision,
    goals: &[Goal],
    digests: &OperatorDigests<'_>,
) -> Option<Vec<String>> {
    let settings = &snapshot.settings;
    enforcement(settings.gate, settings.mode)?;
    let before = &snapshot.remembered.admitted_images;
    let unknown = decision.inputs_unreadable || decision.operator.target.is_none();
    // Without a previous list there is no list: a gate that knows too little admits everything.
    if unknown || (settings.suspend && before.is_some()) {
        return before.clone();
    }
    let mut admitted = BTreeSet::new();
    // The images that run or that the Deployment names are admitted, however they are written.
    let deployed = snapshot.operator.known().and_then(Option::as_ref).and_then(|deployment| deployment.image.clone());
    let pods = snapshot.operator_pods.known().into_iter().flatten().map(|pod| pod.image.clone());
    admitted.extend(deployed.into_iter().chain(pods));
    admitted.extend(snapshot.remembered.running_image.clone());
    for reference in ready(decision, goals) {
        let digest = digests.of(&reference);
        admitted.insert(reference.to_string());
        if let Some(digest) = digest {
            admitted.insert(format!("{}@{digest}", reference.name()));
            if reference.digest().is_none() {
                admitted.insert(format!("{reference}@{digest}"));
            }
        }
    }
    Some(admitted.into_iter().collect())
}
