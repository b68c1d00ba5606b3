//! The phase of the sets: which sets are required, in the order in which they may be written, and the plan for each.
//!
//! The running version's set comes first, because the operator stops at any other set without it. Then come the target's, and
//! those to stage. Planning a set reads the plans before it and changes none of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{
    Action, Digest, Finding, Gate, Goal, GoalState, ImageName, ImageSetName, InstallationSettings, ObjectRef,
    OperatorImages, Progress, Purpose, Reason, RecordKey, Reference, RejectedContent, Release, Snapshot,
    StoredImageSet,
};
use crate::rules::adoption::PinnedImages;
use crate::rules::checks::input::CheckedSet;
use crate::rules::image_set::assemble::{Assembled, Obstacle};
use crate::rules::image_set::impossible::why_no_set;
use crate::rules::image_set::name_conflict::NameClaim;
use crate::rules::image_set::outcome::SetOutcome;
use crate::rules::image_set::spec::SetSpec;
use crate::rules::image_set::{name_conflict, stored_sets};
use crate::rules::version::Versions;

/// The input of planning all sets of a decision.
pub(crate) struct Context<'a> {
    pub snapshot: &'a Snapshot,
    pub installation: &'a InstallationSettings,
    pub versions: &'a Versions<'a>,
    pub stored: &'a [StoredImageSet],
    /// Why the running version can have no set; no other is stored then.
    pub unmakeable: Option<String>,
    /// Stored sets were made from an Installation that is gone: none is changed.
    pub installation_gone: bool,
}

/// The plan for one set.
pub(crate) struct PlannedSet {
    pub goal: Goal,
    /// Input of the checks.
    pub checked_set: CheckedSet,
    pub actions: Vec<Action>,
    /// Images to look up.
    pub lookups: BTreeSet<Reference>,
    /// References whose lookup result cannot be part of a set.
    pub unsuitable: BTreeSet<Reference>,
    /// Workloads whose pods the operator would roll for this set.
    pub rollouts: Vec<ObjectRef>,
    /// How far workloads have adopted it; `None` for a set that is only staged.
    pub adoption: Option<Progress>,
    /// Earlier releases that look up this set and accept it as it is stored.
    pub also_served: BTreeSet<Release>,
}

/// A required set.
struct RequiredSet {
    purpose: Purpose,
    images: OperatorImages,
    name: ImageSetName,
}

/// Plans every required set, in the order in which they may be written.
pub(crate) fn plan(context: &Context<'_>) -> Vec<PlannedSet> {
    required_sets(context).into_iter().fold(Vec::new(), |mut planned, required| {
        planned.push(context.plan(required, &planned));
        planned
    })
}

/// Returns the required sets, in the order in which they may be written.
fn required_sets(context: &Context<'_>) -> Vec<RequiredSet> {
    let versions = context.versions;
    let mut required = current_sets(context);
    // Nothing is planned while the version is unknown, and nothing is staged without a first set that may exist alone.
    if versions.pending || required.is_empty() {
        return Vec::new();
    }
    let operators = [&versions.operator.running, &versions.operator.target].into_iter().flatten();
    let used: BTreeSet<Release> = operators.map(|operator| operator.release).collect();
    let prepare = context.snapshot.to_prepare();
    let listed = prepare.iter().filter_map(|version| Some((version, versions.release_of(version)?)));
    let listed = listed.filter(|(_, release)| !used.contains(release));
    let listed =
        listed.filter_map(|(version, release)| context.required_set(Purpose::Prepared(version.clone()), release));
    required.extend(stored_first(listed.collect(), context.stored));
    let discovered = versions.discovered.iter().filter(|release| !used.contains(release));
    let unlisted = discovered.filter(|release| !prepare.iter().any(|version| version.release() == Some(**release)));
    required.extend(unlisted.filter_map(|release| context.required_set(Purpose::Discovered(*release), *release)));
    required
}

/// Returns the sets of the running and of the target version.
fn current_sets(context: &Context<'_>) -> Vec<RequiredSet> {
    let operator = &context.versions.operator;
    let now = match (&operator.running, &operator.target) {
        (Some(running), Some(target)) if running.release != target.release => [
            context.required_set(Purpose::Running, running.release),
            context.required_set(Purpose::Target, target.release),
        ],
        (Some(only), None) => [context.required_set(Purpose::Running, only.release), None],
        (_, Some(target)) => [context.required_set(Purpose::Target, target.release), None],
        (None, None) => [None, None],
    };
    let mut required: Vec<RequiredSet> = now.into_iter().flatten().collect();
    // A swap of one name's content waits until the rollout of the new operator completes; the old content is then no longer
    // required.
    if operator.rollout_complete && required.len() == 2 && required[0].name == required[1].name {
        required.remove(0);
    }
    required
}

/// Orders sets of the same name so that the one whose content is stored comes first: content that is only staged replaces
/// nothing.
fn stored_first(mut required: Vec<RequiredSet>, stored: &[StoredImageSet]) -> Vec<RequiredSet> {
    let is_stored = |one: &RequiredSet| {
        let made_for = |set: &StoredImageSet| set.origin.as_ref().map(|origin| origin.operator);
        let mut sets = stored.iter().filter(|set| set.name == one.name.as_str());
        sets.any(|set| made_for(set) == Some(one.images.release()))
    };
    for at in 0..required.len() {
        let others = &mut required[at..];
        let found = others.iter().position(|other| other.name == others[0].name && is_stored(other));
        others.swap(0, found.unwrap_or_default());
    }
    required
}

impl<'a> Context<'a> {
    fn required_set(&self, purpose: Purpose, release: Release) -> Option<RequiredSet> {
        let images = self.versions.effective.catalogue().get(&release)?;
        let name = images.image_set_name(self.installation.variant).ok()?;
        Some(RequiredSet { purpose, images, name })
    }

    /// Plans one set, after those that were planned before it.
    fn plan(&self, required: RequiredSet, before: &[PlannedSet]) -> PlannedSet {
        let mut outcome = self.outcome(&required, before);
        self.hold_until_running_set(&required, before, &mut outcome);
        let checked_set = self.checked_set(&required, before, &outcome);
        let workloads = self.snapshot.workloads.known().map_or(&[][..], Vec::as_slice);
        let pinned_images =
            outcome.entries.as_ref().map(|entries| PinnedImages::new(&required.images, self.installation, entries));
        let adoption = match &pinned_images {
            Some(pinned_images) => required.purpose.is_current().then(|| pinned_images.progress(workloads)),
            // The running version's progress does not count for the target.
            None => (required.purpose == Purpose::Target).then(Progress::default),
        };
        let also_served = self.also_served(&required, &checked_set);
        let is_first_and_ready = before.is_empty() && outcome.state == GoalState::Ready;
        let rollouts =
            pinned_images.filter(|_| is_first_and_ready).map(|pinned_images| pinned_images.rollouts(workloads));
        let goal = Goal {
            images: outcome.entries.as_ref().map_or(0, BTreeMap::len),
            content: outcome.entries,
            purpose: required.purpose,
            release: required.images.release(),
            name: required.name,
            omitted: outcome.omitted,
            resolved_at: outcome.resolved_at,
            state: outcome.state,
            findings: outcome.findings,
        };
        PlannedSet {
            goal,
            checked_set,
            actions: outcome.actions,
            lookups: outcome.lookups,
            unsuitable: outcome.unsuitable,
            rollouts: rollouts.unwrap_or_default(),
            adoption,
            also_served,
        }
    }

    /// Returns the earlier releases of this name that the stored set serves: they accept its entries, and pull what they require
    /// from the same repositories. Where a tag differs, such as that of `tigera/key-cert-provisioner` in v1.32, the content is
    /// swapped when such an operator has taken over. Only the gate needs them.
    fn also_served(&self, required: &RequiredSet, stored: &CheckedSet) -> BTreeSet<Release> {
        let release = required.images.release();
        if stored.state != GoalState::Stored || self.snapshot.settings.gate == Gate::Disabled {
            return BTreeSet::new();
        }
        let others = self.versions.effective.of_name(&required.name, self.installation.variant, release);
        let can_have_sets = |images: &OperatorImages| why_no_set(self.snapshot, self.installation, images).is_none();
        let earlier = others.into_iter().filter(|images| images.release() < release && can_have_sets(images));
        let serves = |images: &OperatorImages| {
            let key = self.versions.effective.record_key(images.release(), self.installation);
            let spec = SetSpec { images, key: &key, ..self.spec(required, &stored.key) };
            let references = spec.references().unwrap_or_default();
            let same = |name: &ImageName| {
                let place = |references: &BTreeMap<ImageName, Reference>| references.get(name).map(Reference::name);
                place(&references) == place(&stored.references)
            };
            stored_sets::why_rejected(&stored.content, &spec).is_none() && spec.required_now().iter().all(same)
        };
        earlier.filter(serves).map(|images| images.release()).collect()
    }

    /// Holds a set that is ready while the first one is neither stored nor ready, or can never be made.
    fn hold_until_running_set(&self, required: &RequiredSet, before: &[PlannedSet], outcome: &mut SetOutcome) {
        let first = before.first().map(|planned| planned.goal.state);
        let may_follow =
            matches!(first, None | Some(GoalState::Stored | GoalState::Ready)) && self.unmakeable.is_none();
        if may_follow || outcome.state != GoalState::Ready {
            return;
        }
        let waits = "it waits for the set of the running version";
        let message = self.unmakeable.clone().unwrap_or_else(|| waits.to_owned());
        outcome.actions.retain(|action| matches!(action, Action::WriteRecord(_)));
        outcome.state = GoalState::Held;
        outcome.findings.push(Finding::new(
            Reason::RunningSetFirst,
            ObjectRef::image_set(required.name.as_str()),
            message,
        ));
    }

    fn outcome(&self, required: &RequiredSet, before: &[PlannedSet]) -> SetOutcome {
        if let Some(no_set) = why_no_set(self.snapshot, self.installation, &required.images) {
            return no_set.outcome(self.snapshot, required.name.as_str());
        }
        let key = self.versions.effective.record_key(required.images.release(), self.installation);
        let existing = self.existing(required);
        let spec = self.spec(required, &key);
        let claim = claim(before, &required.name);
        let mut outcome = match existing {
            Some(set) if claim.is_none() && self.installation_gone && set.managed => {
                stored_sets::leave_unchanged(set, &spec)
            }
            // Also if the set already serves another version: the controller never replaces its content.
            Some(set) if !set.managed && !self.snapshot.settings.take_ownership => {
                stored_sets::judge_unmanaged(set, &spec)
            }
            _ => match (self.rejected(required), claim) {
                (Some(rejected), None) => stored_sets::restore_accepted(existing, rejected, &spec),
                (_, claim) => self.assembled(spec, existing, claim),
            },
        };
        if required.purpose.is_current() {
            outcome.findings.extend(unknown_digests(self.snapshot, &required.images));
        }
        outcome
    }

    /// Assembles the set, and compares it with the stored one or with the set that uses its name.
    fn assembled(
        &self,
        mut spec: SetSpec<'_>,
        existing: Option<&StoredImageSet>,
        claim: Option<NameClaim>,
    ) -> SetOutcome {
        let own = existing.filter(|_| claim.is_none());
        let unchanged_set = unchanged_set(own, &spec);
        let resolving = |lookups: BTreeSet<Reference>| SetOutcome {
            lookups,
            ..SetOutcome::in_state(GoalState::Resolving, unchanged_set.as_ref().map(|(entries, _)| entries.clone()))
        };
        match assemble(&mut spec, own) {
            Err(Obstacle::Lookups(references)) => resolving(references),
            Err(Obstacle::Pending) => resolving(BTreeSet::new()),
            Err(Obstacle::Held(findings)) => {
                SetOutcome { unsuitable: spec.unsuitable(), ..unchanged_while_held(unchanged_set, &spec, findings) }
            }
            Ok(mut assembled) => {
                let lookups = std::mem::take(&mut assembled.background_lookups);
                let outcome = match claim {
                    Some(claim) => name_conflict::plan_second(assembled, &claim, &spec),
                    None => stored_sets::compare(existing, assembled, &spec),
                };
                SetOutcome { lookups, ..outcome }
            }
        }
    }

    fn existing(&self, required: &RequiredSet) -> Option<&'a StoredImageSet> {
        self.stored.iter().find(|set| set.name == required.name.as_str())
    }

    fn spec<'b>(&'b self, required: &'b RequiredSet, key: &'b RecordKey) -> SetSpec<'b> {
        let own = self.existing(required).filter(|set| stored_sets::is_unchanged_for(set, key));
        SetSpec {
            snapshot: self.snapshot,
            pinned: own.and_then(stored_sets::parse_entries).unwrap_or_default(),
            installation: self.installation,
            images: &required.images,
            name: &required.name,
            key,
            everything_required: self.snapshot.installation.known().is_none_or(Option::is_none),
            record_in_doubt: false,
        }
    }

    /// Returns the input of the checks for one set.
    fn checked_set(&self, required: &RequiredSet, before: &[PlannedSet], outcome: &SetOutcome) -> CheckedSet {
        let key = self.versions.effective.record_key(required.images.release(), self.installation);
        let spec = self.spec(required, &key);
        let (references, required_now) = (spec.references().unwrap_or_default(), spec.required_now());
        let stored = outcome.state == GoalState::Stored && !self.installation_gone;
        CheckedSet {
            purpose: required.purpose.clone(),
            name: required.name.clone(),
            images: required.images.clone(),
            state: outcome.state,
            content: outcome.entries.clone().unwrap_or_default(),
            references,
            required_now,
            comparable: stored && claim(before, &required.name).is_none(),
            key,
        }
    }

    /// Returns the content that the running operator rejects in the set of its version.
    fn rejected(&self, required: &RequiredSet) -> Option<&RejectedContent> {
        let doubt = self.versions.in_doubt.as_ref()?;
        let is_concerned = required.purpose.is_current() && doubt.release == required.images.release();
        is_concerned.then_some(&doubt.rejected)
    }
}

/// Returns the claim of an earlier set to this name.
fn claim(before: &[PlannedSet], name: &ImageSetName) -> Option<NameClaim> {
    let goal = &before.iter().find(|planned| planned.goal.name == *name)?.goal;
    let (runs, content) = (goal.purpose.is_current(), goal.content.clone());
    Some(NameClaim { release: goal.release, runs, content, state: goal.state })
}

/// Assembles the set. If an edited set would be restored from a record that it was not made from, the registry decides.
fn assemble(spec: &mut SetSpec<'_>, existing: Option<&StoredImageSet>) -> Result<Assembled, Obstacle> {
    let assembled = spec.assemble()?;
    if existing.is_none_or(|set| !stored_sets::puts_record_in_doubt(set, &assembled, spec)) {
        return Ok(assembled);
    }
    spec.record_in_doubt = true;
    spec.assemble()
}

/// The entries of a stored set, and when they were resolved.
type UnchangedSet = (BTreeMap<ImageName, Digest>, Option<Timestamp>);

/// Returns the stored set, if it is as the controller wrote it and its operator accepts it.
fn unchanged_set(existing: Option<&StoredImageSet>, spec: &SetSpec<'_>) -> Option<UnchangedSet> {
    let set = existing.filter(|set| stored_sets::is_unchanged_for(set, spec.key))?;
    let entries = stored_sets::validate(set, spec).ok()?;
    Some((entries, spec.own_record().map(|record| record.resolved_at)))
}

/// Returns the outcome while findings hold new content: a set that is stored as the controller wrote it, and that its operator
/// accepts, still counts as stored.
fn unchanged_while_held(unchanged_set: Option<UnchangedSet>, spec: &SetSpec<'_>, findings: Vec<Finding>) -> SetOutcome {
    let Some((entries, resolved_at)) = unchanged_set else { return SetOutcome::held(findings) };
    let names = spec.entries().into_keys();
    let settings = &spec.snapshot.settings;
    let omitted = names.filter(|name| !entries.contains_key(name) && !settings.exclude.contains(name)).collect();
    SetOutcome { omitted, resolved_at, findings, ..SetOutcome::in_state(GoalState::Stored, Some(entries)) }
}

/// Returns findings for entries of `spec.images.digests` whose name this release does not know.
fn unknown_digests(snapshot: &Snapshot, images: &OperatorImages) -> Vec<Finding> {
    let names = snapshot.settings.digests.keys().filter(|name| !images.accepts(name));
    let findings = names.map(|name| {
        let message = format!("operator {} does not know {name}", images.release());
        Finding::new(Reason::DigestForUnknownImage, ObjectRef::policy(), message)
    });
    findings.collect()
}
