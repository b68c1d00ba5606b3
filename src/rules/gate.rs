//! The upgrade gate: which operator images may get into the operator's Deployment, and how an unprepared one is met. Pure. The
//! answer itself is the API server's, from the list in the policy's status.

use std::collections::BTreeSet;

use crate::model::action::Action;
use crate::model::decision::{Decision, Goal};
use crate::model::finding::Finding;
use crate::model::gate::{Enforcement, SeenGate};
use crate::model::object_ref::ObjectRef;
use crate::model::read::Read;
use crate::model::reason::Reason;
use crate::model::settings::{Gate, Mode, Settings};
use crate::model::snapshot::Snapshot;
use crate::rules::version::operator_digests::{OperatorDigests, ready};

/// What is to be done about it in this pass.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub action: Option<Action>,
    pub findings: Vec<Finding>,
}

/// Whether there should be one.
pub(crate) fn is_wanted(settings: &Settings) -> bool {
    wanted(settings.gate, settings.mode).is_some()
}

/// How the policy wants an unprepared image to be met. While it only observes, nobody is refused anything.
const fn wanted(gate: Gate, mode: Mode) -> Option<Enforcement> {
    match (gate, mode) {
        (Gate::Disabled, _) => None,
        (Gate::Warn, _) | (Gate::Deny, Mode::Observe) => Some(Enforcement::Warn),
        (Gate::Deny, Mode::Apply) => Some(Enforcement::Deny),
    }
}

/// Installs, changes or removes the gate.
pub(crate) fn plan(snapshot: &Snapshot) -> Plan {
    let settings = &snapshot.settings;
    let mut plan = Plan::default();
    let wanted = wanted(settings.gate, settings.mode);
    match &snapshot.gate {
        Read::Known(SeenGate::NotManaged) => {
            if wanted.is_some() {
                let message = "the controller did not create it, and leaves it as it is";
                plan.findings.push(Finding::new(Reason::GateNotManaged, ObjectRef::gate(), message));
            }
        }
        Read::Known(seen) => {
            if *seen != SeenGate::from(wanted) {
                plan.action = Some(Action::SetGate(wanted));
            }
        }
        Read::KindMissing if wanted.is_some() => {
            let message =
                "this Kubernetes has no ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1, from 1.30 on)";
            plan.findings.push(Finding::new(Reason::GateUnsupported, ObjectRef::policy(), message));
        }
        Read::KindMissing | Read::Failed(_) => {}
    }
    if wanted.is_none() {
        return plan;
    }
    if let Some(image) = passed_by_annotation(snapshot) {
        let message = format!("{image} passed by annotation");
        plan.findings.push(Finding::new(Reason::GlassBroken, settings.operator.object(), message));
    }
    plan
}

/// The operator image that the annotation of its Deployment names.
fn passed_by_annotation(snapshot: &Snapshot) -> Option<&str> {
    let deployment = snapshot.operator.known()?.as_ref()?;
    deployment.image.as_deref().filter(|image| deployment.break_glass.as_deref() == Some(*image))
}

/// The operator image that has got in since the last pass by annotation alone: a happening, told once.
pub(crate) fn glass_broken(snapshot: &Snapshot) -> Option<&str> {
    let (remembered, admitted) = (&snapshot.remembered, snapshot.remembered.admitted_images.as_ref());
    let before = remembered.target_image.as_deref().filter(|_| is_wanted(&snapshot.settings))?;
    let image = passed_by_annotation(snapshot).filter(|image| *image != before)?;
    (!admitted?.iter().any(|admitted| admitted == image)).then_some(image)
}

/// The images that the gate admits after the writes, each by tag, by tag and digest, and by digest; `None` without a gate.
pub(crate) fn admitted(
    snapshot: &Snapshot,
    decision: &Decision,
    goals: &[Goal],
    digests: &OperatorDigests<'_>,
) -> Option<Vec<String>> {
    let settings = &snapshot.settings;
    wanted(settings.gate, settings.mode)?;
    let before = &snapshot.remembered.admitted_images;
    let unknown = decision.blind || decision.operator.target.is_none();
    // Without a list of before there is none now: a gate that knows too little stays open.
    if unknown || (settings.suspend && before.is_some()) {
        return before.clone();
    }
    let mut admitted = BTreeSet::new();
    // What runs and what is asked for already, however it is written.
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
