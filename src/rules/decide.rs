//! From what was observed to what is to be done. Pure: the same snapshot always leads to the same decision.
//!
//! The sets are worked through in the order in which they may be written: the running version's first (another set
//! without it stops the operator), then the target's, then those to stage.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::catalogue::Catalogue;
use crate::model::action::Action;
use crate::model::adoption::Progress;
use crate::model::decision::{Decision, Goal, GoalState, OperatorKnowledge, Purpose};
use crate::model::digest::Digest;
use crate::model::finding::Finding;
use crate::model::image_name::ImageName;
use crate::model::image_set::Origin;
use crate::model::listed::NAMED;
use crate::model::lookups::Hints;
use crate::model::object_ref::ObjectRef;
use crate::model::operator_images::OperatorImages;
use crate::model::platform::UnknownNode;
use crate::model::read::Read;
use crate::model::reason::Reason;
use crate::model::record::{Record, RecordKey, Refused};
use crate::model::reference::Reference;
use crate::model::release::{ImageSetName, Release, Variant};
use crate::model::resolved_image::ResolvedImage;
use crate::model::settings::{InstallationSettings, Mode, PrepareVersion};
use crate::model::snapshot::Snapshot;
use crate::model::stored_image_set::StoredImageSet;
use crate::model::subject::Subject;
use crate::rules::adoption::PulledFrom;
use crate::rules::checks::{operator_degraded, pull_failures, view};
use crate::rules::failed_reads::failed_reads;
use crate::rules::image_set::assemble::{Assembled, Obstacle, Recipe};
use crate::rules::image_set::name_conflict::Claim;
use crate::rules::image_set::outcome::Worked;
use crate::rules::image_set::{name_conflict, retention, stored_sets};
use crate::rules::version::effective_catalogue::Builds;
use crate::rules::version::operator::{know_operator, know_prepared};
use crate::rules::version::operator_digests::OperatorDigests;
use crate::rules::version::rejected_set::InDoubt;
use crate::rules::version::{discovery, inspection, rejected_set};
use crate::rules::{checks, gate};

/// Decides.
#[must_use]
pub fn decide(snapshot: &Snapshot, embedded: &Catalogue<'_>) -> Decision {
    let mut decision = Decision { findings: snapshot.objections.clone(), ..Decision::default() };
    decision.findings.extend(failed_reads(snapshot));
    decision.findings.extend(unknown_nodes(snapshot));
    let Some(installation) = effective_installation(snapshot) else { return finished(blind(decision), snapshot) };

    let builds = Builds::new(snapshot, embedded);
    let versions = know_operator(snapshot, &builds, installation.variant);
    let mut wanted = versions.wanted;
    decision.questions.operators = versions.questions;
    decision.findings.extend(versions.findings);
    decision.operator = versions.knowledge;
    let refused = rejected_set::consequence(snapshot, &builds, &installation, decision.operator.running.as_ref());
    decision.findings.extend(refused.finding);
    decision.questions.operators.extend(refused.question);
    wanted.extend(refused.wanted);
    let (learned, in_doubt) = (refused.learned, refused.in_doubt);
    let builds = learned.clone().map_or(builds, |learned| Builds::with(snapshot, embedded, learned));
    let catalogue = builds.catalogue();
    let prepared = know_prepared(snapshot, &builds, installation.variant);
    if !decision.operator.first_install {
        // Before the first install the one entry is the target.
        decision.questions.operators.extend(prepared.questions);
        wanted.extend(prepared.wanted);
        decision.unknown = prepared.unknown;
    }
    decision.releases = prepared.releases;
    let found = discovery::look(snapshot, &decision.operator);
    decision.questions.releases.extend(found.question);
    decision.findings.extend(found.finding);
    (decision.discovery, decision.discovered) = (found.known, found.candidates);
    let Some(stored) = stored_sets(snapshot, &mut decision.findings) else {
        return finished(blind(decision), snapshot);
    };

    let unmakeable = no_running_set(&decision.operator, catalogue, installation.variant);
    let gone = installation_gone(snapshot, &installation, &decision.operator, &builds);
    let mut desk = Desk {
        snapshot,
        installation: &installation,
        builds: &builds,
        stored,
        decision,
        claimed: BTreeMap::new(),
        unmakeable,
        in_doubt,
        installation_gone: !gone.is_empty(),
        looks: Vec::new(),
    };
    let orders = if versions.pending { Vec::new() } else { desk.orders(catalogue) };
    for order in orders {
        desk.work_on(order);
    }
    let (mut decision, looks) = (desk.decision, desk.looks);
    decision.unmakeable = pre_release_markers(&decision, catalogue, installation.variant);
    let seen = view::View {
        snapshot,
        installation: &installation,
        builds: &builds,
        operator: &decision.operator,
        looks: &looks,
        frozen: versions.frozen,
    };
    let (drifted, questions) = (checks::findings(&seen), checks::questions(&seen));
    let target = looks.iter().find(|look| look.purpose == Purpose::Target && look.state == GoalState::Stored);
    decision.verified = target.is_some_and(|look| checks::compared(&seen, look));
    decision.look_again = checks::look_again(&seen);
    decision.findings.extend(drifted);
    decision.questions.images.extend(questions);
    let refused = decision.findings.iter().any(|finding| finding.reason == Reason::ImageSetRefused);
    decision.findings.extend(operator_degraded::findings(snapshot, &decision.operator, installation.variant, refused));
    decision.findings.extend(pull_failures::check(snapshot, &looks));
    if versions.frozen {
        freeze(&mut decision);
    } else if !gone.is_empty() {
        let operators = std::mem::take(&mut decision.questions.operators);
        freeze(&mut decision);
        decision.questions.operators = operators;
    }
    decision.findings.extend(gone);
    let ran = snapshot.remembered.running_version.as_deref().and_then(|version| version.parse().ok());
    let left = ran.and_then(|release| catalogue.get(&release)?.image_set_name(installation.variant).ok());
    keep_the_way_back(snapshot, &mut decision, versions.frozen, left.as_ref());
    let gate = gate::plan(snapshot);
    decision.questions.digests = OperatorDigests::new(snapshot).questions(&decision);
    decision.findings.extend(gate.findings);
    // Whatever else is held: an answer is kept, and without one nothing would ever go on.
    inspection::plan(snapshot, wanted, learned).add_to(&mut decision);
    // In front of all others: it waits for nothing, and in Observe it is the only one that is carried out.
    decision.plan.splice(0..0, gate.action);
    finished(decision, snapshot)
}

/// Previous sets: those within the policy's number stay, the others go when nothing is under way.
fn keep_the_way_back(snapshot: &Snapshot, decision: &mut Decision, frozen: bool, left: Option<&ImageSetName>) {
    if frozen {
        decision.retained.clone_from(&snapshot.remembered.retained);
        return;
    }
    let retained = retention::retained(snapshot, &decision.goals, left);
    // What is not known may need any of them.
    let known = |version: &PrepareVersion| decision.release_of(version).is_some();
    // A set that was staged for what was discovered looks like a previous one, until it is known what was.
    let looked = snapshot.settings.discover.is_none() || decision.discovery.is_some();
    let known = looked && decision.operator.target.is_some() && snapshot.to_prepare().iter().all(known);
    let quiet = decision.operator.taken_over && decision.questions.holds_nothing() && decision.plan.is_empty() && known;
    for prune in retention::to_prune(snapshot, &decision.goals, &retained, quiet) {
        decision.plan.push(Action::PruneImageSet(prune));
    }
    decision.retained = retained;
}

fn blind(decision: Decision) -> Decision {
    Decision { blind: true, ..decision }
}

/// One set to work on.
struct Order {
    purpose: Purpose,
    images: OperatorImages,
    name: ImageSetName,
}

/// The work on all sets of one pass.
struct Desk<'a> {
    snapshot: &'a Snapshot,
    installation: &'a InstallationSettings,
    builds: &'a Builds<'a>,
    stored: &'a [StoredImageSet],
    decision: Decision,
    /// Names that an earlier goal uses, with that goal's release and content.
    claimed: BTreeMap<ImageSetName, Claim>,
    /// Why the running version can have no set; no other is stored then.
    unmakeable: Option<String>,
    /// The operator that runs refuses the set of its version.
    in_doubt: Option<InDoubt>,
    /// Sets of ours are there from an Installation that is gone: none is changed.
    installation_gone: bool,
    /// What the checks for drift look at.
    looks: Vec<view::Look>,
}

impl<'desk> Desk<'desk> {
    /// The sets that are wanted, in the order in which they may be written.
    fn orders(&self, catalogue: &Catalogue<'_>) -> Vec<Order> {
        let order = |purpose: Purpose, release: Release| {
            let images = catalogue.get(&release)?;
            let name = images.image_set_name(self.installation.variant).ok()?;
            Some(Order { purpose, images, name })
        };
        let knowledge = &self.decision.operator;
        let (running, target) = (&knowledge.running, &knowledge.target);
        let now = match (running, target) {
            (Some(running), Some(target)) if running.release != target.release => {
                [order(Purpose::Running, running.release), order(Purpose::Target, target.release)]
            }
            (Some(only), None) => [order(Purpose::Running, only.release), None],
            (_, Some(target)) => [order(Purpose::Target, target.release), None],
            (None, None) => [None, None],
        };
        let mut orders: Vec<Order> = now.into_iter().flatten().collect();
        // A swap within one name waits for the take-over; after it the old content is no longer wanted.
        if knowledge.taken_over && orders.len() == 2 && orders[0].name == orders[1].name {
            orders.remove(0);
        }
        // Without a first set that may exist alone, nothing may be staged either.
        if orders.is_empty() {
            return orders;
        }
        let used: BTreeSet<Release> =
            [running, target].into_iter().flatten().map(|operator| operator.release).collect();
        let prepare = self.snapshot.to_prepare();
        let listed = prepare.iter().filter_map(|version| Some((version, self.decision.release_of(version)?)));
        let listed = listed.filter(|(_, release)| !used.contains(release));
        let mut listed: Vec<Order> =
            listed.filter_map(|(version, release)| order(Purpose::Prepared(version.clone()), release)).collect();
        self.standing_first(&mut listed);
        orders.extend(listed);
        let discovered = self.decision.discovered.iter().filter(|release| !used.contains(release));
        let unlisted = discovered.filter(|release| !prepare.iter().any(|version| version.release() == Some(**release)));
        orders.extend(unlisted.filter_map(|release| order(Purpose::Discovered(*release), *release)));
        orders
    }

    /// Of several that want one name, the one whose content stands there comes first: nothing is swapped for what only may come.
    fn standing_first(&self, listed: &mut [Order]) {
        let stands = |order: &Order| {
            let made_for = |set: &StoredImageSet| set.origin.as_ref().map(|origin| origin.operator);
            let mut sets = self.stored.iter().filter(|set| set.name == order.name.as_str());
            sets.any(|set| made_for(set) == Some(order.images.release()))
        };
        for at in 0..listed.len() {
            let others = &mut listed[at..];
            let standing = others.iter().position(|other| other.name == others[0].name && stands(other));
            others.swap(0, standing.unwrap_or_default());
        }
    }

    /// Works on one set and keeps what came out.
    fn work_on(&mut self, order: Order) {
        let first = self.decision.goals.first().map(|goal| goal.state);
        let mut worked = self.work(&order);
        let armed = matches!(first, None | Some(GoalState::Stored | GoalState::Ready)) && self.unmakeable.is_none();
        if !armed && worked.state == GoalState::Ready {
            let waits = "it waits for the set of the running version";
            let message = self.unmakeable.clone().unwrap_or_else(|| waits.to_owned());
            let finding = Finding::new(Reason::RunningSetFirst, ObjectRef::image_set(order.name.as_str()), message);
            worked.actions.retain(|action| matches!(action, Action::WriteRecord(_)));
            worked.state = GoalState::Held;
            worked.findings.push(finding);
        }
        let release = order.images.release();
        if let Some(entries) = &worked.entries {
            let pulled = PulledFrom::new(&order.images, self.installation, entries);
            let workloads = self.snapshot.workloads.known().map_or(&[][..], Vec::as_slice);
            if self.decision.goals.is_empty() && worked.state == GoalState::Ready {
                self.decision.rollouts = pulled.rollouts(workloads);
            }
            if order.purpose.is_wanted_now() {
                self.decision.adoption = pulled.progress(workloads);
            }
        } else if order.purpose == Purpose::Target {
            // Not the running version's progress.
            self.decision.adoption = Progress::default();
        }
        let runs = order.purpose.is_wanted_now();
        self.looks.push(self.look(&order, &worked));
        let claim = || Claim { release, runs, content: worked.entries.clone(), state: worked.state };
        self.claimed.entry(order.name.clone()).or_insert_with(claim);
        self.decision.goals.push(Goal {
            images: worked.entries.as_ref().map_or(0, BTreeMap::len),
            content: worked.entries,
            purpose: order.purpose,
            release,
            name: order.name,
            omitted: worked.omitted,
            resolved_at: worked.resolved_at,
            state: worked.state,
            findings: worked.findings,
        });
        self.decision.plan.extend(worked.actions);
    }

    fn work(&mut self, order: &Order) -> Worked {
        let key = self.builds.record_key(order.images.release(), self.installation);
        let snapshot = self.snapshot;
        let existing = self.stored.iter().find(|set| set.name == order.name.as_str());
        let mut recipe = self.recipe(order, &key);
        let claimed = self.claimed.get(&order.name).cloned();
        let standing =
            existing.filter(|set| claimed.is_none() && stored_sets::as_we_wrote_it_for(set, &key)).and_then(|set| {
                let entries = stored_sets::valid_for(set, &recipe).ok()?;
                Some((entries, recipe.own_record().map(|record| record.resolved_at)))
            });
        let refused = self.refused(order).filter(|_| claimed.is_none());
        let mut worked = match (existing, refused) {
            (Some(set), _) if claimed.is_none() && self.installation_gone && set.ours => {
                stored_sets::kept(set, &recipe)
            }
            // Also where it serves another version already: nothing is ever swapped in for it.
            (Some(set), _) if !set.ours && !snapshot.settings.take_ownership => stored_sets::foreign(set, &recipe),
            (set, Some(refused)) => stored_sets::stand_in(set, refused, &recipe),
            (existing, None) => match self.assemble(&mut recipe, existing.filter(|_| claimed.is_none())) {
                Err(Obstacle::Ask(references)) => {
                    self.decision.questions.images.extend(references);
                    Worked::in_state(GoalState::Resolving, standing.map(|(entries, _)| entries))
                }
                Err(Obstacle::Pending) => Worked::in_state(GoalState::Resolving, standing.map(|(entries, _)| entries)),
                Err(Obstacle::Held(findings)) => {
                    self.decision.unsuitable.extend(recipe.unsuitable());
                    standing_while_held(standing, &recipe, findings)
                }
                Ok(mut assembled) => {
                    self.decision.questions.images.append(&mut assembled.ask);
                    match claimed {
                        Some(claim) => name_conflict::share(assembled, &claim, &recipe),
                        None => stored_sets::compare(existing, assembled, &recipe),
                    }
                }
            },
        };
        if order.purpose.is_wanted_now() {
            worked.findings.extend(unknown_digests(&recipe));
        }
        worked
    }

    /// Builds the set; where an edited one would be put back from a record that it was not made from, by the registry's word.
    fn assemble(&self, recipe: &mut Recipe<'_>, existing: Option<&StoredImageSet>) -> Result<Assembled, Obstacle> {
        let assembled = recipe.assemble()?;
        if existing.is_none_or(|set| !stored_sets::puts_record_in_doubt(set, &assembled, recipe)) {
            return Ok(assembled);
        }
        recipe.record_in_doubt = true;
        recipe.assemble()
    }

    fn recipe<'a>(&self, order: &'a Order, key: &'a RecordKey) -> Recipe<'a>
    where
        'desk: 'a,
    {
        let existing = self.stored.iter().find(|set| set.name == order.name.as_str());
        let pinned =
            existing.filter(|set| stored_sets::as_we_wrote_it_for(set, key)).and_then(stored_sets::parsed_entries);
        Recipe {
            snapshot: self.snapshot,
            pinned: pinned.unwrap_or_default(),
            installation: self.installation,
            images: &order.images,
            name: &order.name,
            key,
            everything_required: self.snapshot.installation.known().is_none_or(Option::is_none),
            record_in_doubt: false,
        }
    }

    /// What the checks for drift should know of a set.
    fn look(&self, order: &Order, worked: &Worked) -> view::Look {
        let key = self.builds.record_key(order.images.release(), self.installation);
        let recipe = self.recipe(order, &key);
        let (references, insisted_on) = (recipe.references().unwrap_or_default(), recipe.insisted_on());
        let stored = worked.state == GoalState::Stored && !self.installation_gone;
        view::Look {
            purpose: order.purpose.clone(),
            name: order.name.clone(),
            images: order.images.clone(),
            state: worked.state,
            content: worked.entries.clone().unwrap_or_default(),
            references,
            insisted_on,
            comparable: stored && !self.claimed.contains_key(&order.name),
            key,
        }
    }

    /// What the operator that runs says against the set of this order.
    fn refused(&self, order: &Order) -> Option<&Refused> {
        let doubt = self.in_doubt.as_ref()?;
        (order.purpose.is_wanted_now() && doubt.release == order.images.release()).then_some(&doubt.refused)
    }
}

/// Our sets that were made from an Installation which is no longer there. The policy's stand-in is for the time before
/// the first one: to follow it now would swap the set under a running operator.
fn installation_gone(
    snapshot: &Snapshot,
    installation: &InstallationSettings,
    operator: &OperatorKnowledge,
    builds: &Builds<'_>,
) -> Vec<Finding> {
    if matches!(snapshot.installation, Read::Known(Some(_)) | Read::Failed(_)) || operator.running.is_none() {
        return Vec::new();
    }
    let sets = snapshot.image_sets.known().into_iter().flatten().filter(|set| set.ours);
    let other = sets.filter(|set| {
        let made_from = |origin: &Origin| builds.record_names(origin.operator, installation).contains(&origin.record);
        set.origin.as_ref().is_some_and(|origin| !made_from(origin))
    });
    let told = other.map(|set| {
        let message = "it was made from an Installation that is gone; it stays as it is, and nothing else is stored";
        Finding::new(Reason::InstallationGone, ObjectRef::image_set(&set.name), message)
    });
    told.collect()
}

/// Why no set can be made for the operator that runs, where another one is to run: any set but its own would stop it,
/// and which one is its own cannot be told.
fn no_running_set(operator: &OperatorKnowledge, catalogue: &Catalogue<'_>, variant: Variant) -> Option<String> {
    let (running, target) = (operator.running.as_ref()?, operator.target.as_ref()?);
    let release = running.release;
    if release == target.release {
        return None;
    }
    let why = match catalogue.get(&release).map(|images| images.image_set_name(variant)) {
        Some(Ok(_)) => return None,
        Some(Err(_)) => "it deploys no Calico release",
        None => "its images are not known",
    };
    Some(format!("it waits until operator {release} runs no longer: no set can be made for that one ({why})"))
}

/// Nothing is changed and nobody asked, whatever the goals are.
fn freeze(decision: &mut Decision) {
    decision.plan.clear();
    decision.rollouts.clear();
    decision.questions = crate::model::lookups::Questions::default();
    for goal in &mut decision.goals {
        if matches!(goal.state, GoalState::Ready | GoalState::Resolving) {
            goal.state = GoalState::Held;
        }
    }
}

/// Replacements for names that this release does not have.
fn unknown_digests(recipe: &Recipe<'_>) -> Vec<Finding> {
    let names = recipe.snapshot.settings.digests.keys().filter(|name| !recipe.images.accepts(name));
    let told = names.map(|name| {
        let message = format!("operator {} does not know {name}", recipe.images.release());
        Finding::new(Reason::DigestForUnknownImage, ObjectRef::policy(), message)
    });
    told.collect()
}

/// What is in the way of a new content is not in the way of a set that stands as we wrote it and that its operator takes.
fn standing_while_held(
    standing: Option<(BTreeMap<ImageName, Digest>, Option<Timestamp>)>,
    recipe: &Recipe<'_>,
    findings: Vec<Finding>,
) -> Worked {
    let Some((entries, resolved_at)) = standing else { return Worked::held(findings) };
    let names = recipe.images.set_images(recipe.installation.variant, recipe.installation.fips).into_keys();
    let settings = &recipe.snapshot.settings;
    let omitted = names.filter(|name| !entries.contains_key(name) && !settings.exclude.contains(name)).collect();
    Worked { omitted, resolved_at, findings, ..Worked::in_state(GoalState::Stored, Some(entries)) }
}

/// The Installation's settings, or the policy's stand-in; `None` while it cannot be told which holds.
fn effective_installation(snapshot: &Snapshot) -> Option<InstallationSettings> {
    match &snapshot.installation {
        Read::Known(Some(installation)) => Some(installation.settings.clone()),
        Read::Known(None) | Read::KindMissing => Some(snapshot.settings.installation.clone()),
        Read::Failed(_) => None,
    }
}

/// Versions to prepare that deploy no release: no set will ever be made for them.
fn pre_release_markers(
    decision: &Decision,
    catalogue: &Catalogue<'_>,
    variant: Variant,
) -> Vec<(PrepareVersion, Finding)> {
    let marker = |(version, release): &(PrepareVersion, Release)| {
        let images = catalogue.get(release)?;
        let product = images.product_version(variant);
        let message = format!("it deploys {variant} {:?}", product.as_str());
        let finding = || Finding::new(Reason::PreReleaseMarker, Subject::Operator(version.clone()), message);
        product.is_pre_release_marker().then(|| (version.clone(), finding()))
    };
    decision.releases.iter().filter_map(marker).collect()
}

fn stored_sets<'a>(snapshot: &'a Snapshot, findings: &mut Vec<Finding>) -> Option<&'a [StoredImageSet]> {
    match &snapshot.image_sets {
        Read::Known(sets) => Some(sets),
        Read::KindMissing => {
            let message = "imagesets.operator.tigera.io is not installed";
            findings.push(Finding::new(Reason::OperatorKindsMissing, Subject::OperatorKinds, message));
            Some(&[])
        }
        Read::Failed(_) => None,
    }
}

/// One finding per node of an unknown platform. The last one counts those that are not named.
fn unknown_nodes(snapshot: &Snapshot) -> Vec<Finding> {
    let (named, others) = snapshot.unknown_nodes.split_at(snapshot.unknown_nodes.len().min(NAMED));
    let finding = |(position, node): (usize, &UnknownNode)| {
        let more = match others.len() {
            more if more > 0 && position + 1 == named.len() => format!(" (and {more} more nodes)"),
            _ => String::new(),
        };
        let message = format!(
            "its kubelet reports the platform \"{}\"; images are not checked for this node{more}",
            node.platform
        );
        Finding::new(Reason::NodePlatformUnknown, ObjectRef::node(&node.node), message)
    };
    named.iter().enumerate().map(finding).collect()
}

/// What those who ask should know: what the references resolved to before, and for which nodes.
fn hints(snapshot: &Snapshot, questions: &BTreeSet<Reference>) -> Hints {
    if questions.is_empty() {
        return Hints::default();
    }
    let recorded = |reference: &Reference| {
        let by_digest = |image: &&ResolvedImage| {
            reference.digest() == Some(&image.digest) && image.reference.name() == reference.name()
        };
        let of_record = |record: &Record| {
            let same = record.images.get(reference).or_else(|| record.images.values().find(by_digest))?;
            Some(same.clone())
        };
        let image = snapshot.records.known()?.iter().find_map(of_record)?;
        Some((reference.clone(), image))
    };
    let platforms = snapshot.nodes.known().into_iter().flatten().map(|(platform, _)| platform.clone());
    Hints { known: questions.iter().filter_map(recorded).collect(), platforms: platforms.collect() }
}

/// Sorts the findings and releases the plan for action where the policy says so.
fn finished(mut decision: Decision, snapshot: &Snapshot) -> Decision {
    decision.questions.hints = hints(snapshot, &decision.questions.images);
    decision.look_again = [decision.look_again, snapshot.next_expiry()].into_iter().flatten().min();
    decision.findings.extend(decision.goals.iter().flat_map(|goal| goal.findings.clone()));
    // What cannot be looked at is as it was, as far as anybody knows.
    let unread = |finding: &&Finding| snapshot.unread(finding.reason.condition()).is_some();
    decision.findings.extend(snapshot.remembered.findings.iter().filter(unread).cloned());
    decision.findings.sort_by_key(|finding| std::cmp::Reverse(finding.reason.severity()));
    let mut seen = BTreeSet::new();
    decision.findings.retain(|finding| seen.insert(finding.clone()));
    let may_write = snapshot.settings.mode == Mode::Apply
        && !snapshot.settings.suspend
        && decision.questions.holds_nothing()
        && snapshot.records.known().is_some();
    if may_write {
        decision.actions = decision.plan.clone();
    } else if !snapshot.settings.suspend {
        let gate = |action: &&Action| matches!(action, Action::SetGate(_));
        decision.actions = decision.plan.iter().take_while(gate).cloned().collect();
    }
    decision
}
