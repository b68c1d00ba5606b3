//! The admission gate: which operator images the operator's Deployment may have, and whether an unprepared one is admitted with a
//! warning or rejected. The API server evaluates the gate, from the list in the policy's status.

use std::collections::BTreeSet;

use crate::model::{
    Action, Decision, Digest, Enforcement, Finding, Gate, GateState, Goal, Mode, ObjectRef, OperatorPod, Read, Reason,
    Reference, Settings, Snapshot,
};
use crate::rules::version::operator_digests::{OperatorDigests, also_served, previous, ready};

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

/// Returns the images that the gate admits after the writes, each by tag, by tag and digest, and by digest, in every spelling: the
/// API server compares texts. `None` without a gate.
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
    let mut admitted = Admitted::default();
    for image in images_in_use(snapshot) {
        admitted.as_written(&image);
    }
    for reference in ready(decision, goals).into_iter().chain(previous(decision)).chain(also_served(decision)) {
        admitted.every_form(&reference, digests.of(&reference));
    }
    Some(admitted.0.into_iter().take(MOST_ADMITTED).collect::<BTreeSet<String>>().into_iter().collect())
}

/// Returns the images that run or that the Deployment names, however they are written, and by the digests that runtimes report.
fn images_in_use(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let deployed = snapshot.operator.known().and_then(Option::as_ref).and_then(|deployment| deployment.image.clone());
    let pods = snapshot.operator_pods.known().into_iter().flatten();
    let reported = |pod: &OperatorPod| {
        let (reference, digest) = (pod.image.parse::<Reference>().ok()?, pod.image_digest?);
        reference
            .digest()
            .is_none()
            .then(|| [format!("{}@{digest}", pod.image), reference.with_digest(digest).to_string()])
    };
    let running = pods.flat_map(move |pod| [pod.image.clone()].into_iter().chain(reported(pod).into_iter().flatten()));
    deployed.into_iter().chain(running).chain(snapshot.remembered.running_image.clone())
}

/// Maximum number of admitted texts (`maxItems` in the policy's status): some fifty versions of an operator from Docker Hub, which
/// has the most spellings.
const MOST_ADMITTED: usize = 512;

/// Admitted texts, the most important first.
#[derive(Default)]
struct Admitted(Vec<String>);

impl Admitted {
    fn as_written(&mut self, image: &str) {
        self.add(image.to_owned());
        if let Ok(reference) = image.parse::<Reference>() {
            reference.spellings().into_iter().for_each(|text| self.add(text));
        }
    }

    /// Admits a reference as it is, with this digest, and by the digest alone.
    fn every_form(&mut self, reference: &Reference, digest: Option<Digest>) {
        self.as_written(&reference.to_string());
        if let Some(digest) = digest {
            self.as_written(&format!("{}@{digest}", reference.name()));
            if reference.digest().is_none() {
                self.as_written(&format!("{reference}@{digest}"));
            }
        }
    }

    fn add(&mut self, text: String) {
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }
}
