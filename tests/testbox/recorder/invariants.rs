//! The judge of S1 to S6, revision by revision.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kube::ResourceExt;

use super::super::crds::Kind;
use super::super::rules::{OperatorRules, Variant, Version, versions_wanting};
use super::history::{Revision, Verb, Watched};
use super::world::{StoredSet, World, stored_set, target_image};
use super::{Allowed, BREAK_GLASS, Config};

/// Something that must never happen, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `S1` to `S6`.
    pub rule: &'static str,
    /// The revision that did it.
    pub resource_version: u64,
    /// `ImageSet`, or `Deployment` (S6).
    pub kind: String,
    /// Its name.
    pub object: String,
    /// What is wrong, in words.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, resource_version, kind, object, text } = self;
        write!(formatter, "{rule} at rv={resource_version} {kind} {object}: {text}")
    }
}

/// Judges all revisions, in order. The second list is what could not be judged.
pub fn judge(config: &Config, allowed: &Allowed, revisions: &[Revision]) -> (Vec<Violation>, Vec<String>) {
    let known_digests = config.known_digests.lock().unwrap().clone();
    let mut judge = Judge {
        config,
        allowed,
        known_digests,
        world: World::default(),
        pinned: BTreeMap::new(),
        violations: Vec::new(),
        unjudged: Vec::new(),
    };
    for revision in revisions {
        if revision.watched == Watched::Operator(Kind::ImageSet) {
            if revision.initial { judge.remember(revision) } else { judge.image_set(revision) }
        }
        if revision.watched == Watched::Deployment && revision.verb == Verb::Update {
            judge.upgrade(revision);
        }
        judge.world.apply(config, revision);
    }
    (judge.violations, judge.unjudged)
}

struct Judge<'a> {
    config: &'a Config,
    allowed: &'a Allowed,
    known_digests: BTreeSet<String>,
    /// The world before the revision that is judged.
    world: World,
    /// What we stored for (set, image), ever.
    pinned: BTreeMap<(String, String), String>,
    violations: Vec<Violation>,
    unjudged: Vec<String>,
}

impl Judge<'_> {
    fn violation(&mut self, rule: &'static str, revision: &Revision, text: String) {
        let object = revision.name();
        let kind = revision.watched.kind();
        self.violations.push(Violation { rule, resource_version: revision.resource_version, kind, object, text });
    }

    /// What was stored before the recorder started is not judged, but stays pinned.
    fn remember(&mut self, revision: &Revision) {
        let stored = stored_set(&revision.object);
        for (image, digest) in stored.set.entries.iter().filter(|_| stored.managed) {
            self.pinned.insert((stored.set.name.clone(), image.clone()), digest.clone());
        }
    }

    fn image_set(&mut self, revision: &Revision) {
        let before = self.world.sets.get(&revision.name()).cloned();
        if revision.verb == Verb::Delete {
            return self.deletion(revision, before);
        }
        let now = stored_set(&revision.object);
        let manager = revision.manager.as_deref().unwrap_or_default();
        self.unmanaged(revision, before.as_ref(), manager);
        if !now.managed || self.config.humans.contains(manager) {
            return;
        }
        let is_new = before.as_ref().is_none_or(|before| !before.managed);
        if is_new {
            self.arming_order(revision);
        }
        let changed = before.as_ref().is_none_or(|before| !before.managed || before.set != now.set);
        if changed {
            self.content(revision, &now);
            self.origin(revision, &now);
            self.silent_change(revision, &now);
            let emptied = now.set.entries.is_empty() && before.is_some_and(|before| !before.set.entries.is_empty());
            if emptied && self.is_protected(&now.set.name) && !self.allowed.delete.contains(&now.set.name) {
                self.violation("S5", revision, "the set of the running or the target version was emptied".to_owned());
            }
        }
    }

    /// S1: the exact set of the running version first.
    fn arming_order(&mut self, revision: &Revision) {
        let name = revision.name();
        if self.world.running_unknown {
            self.unjudged
                .push(format!("S1 at rv={}: the running build is not one the test told of", revision.resource_version));
            return;
        }
        let mut wanted: Vec<Arc<OperatorRules>> = self.world.running.iter().cloned().collect();
        // The last Ready one is gone: the new operator has taken over, Ready or not.
        if wanted.is_empty() || !self.world.running_pod_exists() {
            wanted.extend(self.world.target.clone());
        }
        if wanted.is_empty() {
            wanted.extend(self.world.announced(self.config));
        }
        if wanted.is_empty() {
            self.unjudged.push(format!("S1 at rv={}: no operator, and none announced", revision.resource_version));
            return;
        }
        let variant = self.world.variant();
        let problems: Vec<String> =
            wanted.iter().filter_map(|rules| self.first_missing(rules, variant, &name)).collect();
        if problems.len() == wanted.len() {
            self.violation("S1", revision, format!("stored before the set that counts: {}", problems.join("; or ")));
        }
    }

    /// Why the set of this build does not stand while `name` is stored; `None` if it does, or is the one being stored.
    fn first_missing(&self, rules: &OperatorRules, variant: Variant, name: &str) -> Option<String> {
        let expected = rules.expected_set_name(variant);
        if expected == name {
            return None;
        }
        match self.world.sets.get(&expected) {
            None => Some(format!("operator {} runs and {expected} is not stored", rules.version)),
            Some(stored) if stored.managed => None,
            Some(stored) => {
                let features = self.world.features();
                let rejection = rules.active_components(variant, features).into_iter().find_map(|component| {
                    rules.judge(component, variant, features, std::slice::from_ref(&stored.set)).err()
                });
                rejection.map(|rejection| format!("{expected} is foreign, and refused: {}", rejection.message))
            }
        }
    }

    /// S2: valid for each release that it serves.
    fn content(&mut self, revision: &Revision, now: &StoredSet) {
        let variant = self.variant_of(&now.set.name);
        let features = self.world.features();
        let all: Vec<Vec<String>> = self
            .served(now, variant)
            .iter()
            .map(|rules| rules.strict_problems(variant, &now.set.entries, features))
            .collect();
        if all.is_empty() {
            self.violation("S2", revision, "no release wants a set of this name".to_owned());
        } else if !all.iter().any(Vec::is_empty) {
            let fewest = all.into_iter().min_by_key(Vec::len).unwrap_or_default();
            self.violation("S2", revision, fewest.join("; "));
        }
    }

    /// The releases of which one must accept the set: the running one if it wants this name; else the target; else the one
    /// that an annotation names; else any that wants it.
    fn served(&self, now: &StoredSet, variant: Variant) -> Vec<Arc<OperatorRules>> {
        let name = &now.set.name;
        let wants = |rules: &Arc<OperatorRules>| rules.expected_set_name(variant) == *name;
        let running = self.world.running.clone().filter(wants);
        let target = self.world.target.clone().filter(wants);
        if let Some(running) = running {
            // Once the old pod is gone the content may be the next operator's.
            let next = target.filter(|_| !self.world.running_pod_exists());
            return [Some(running), next].into_iter().flatten().collect();
        }
        if let Some(target) = target {
            return vec![target];
        }
        let wanting: Vec<Version> = versions_wanting(name)
            .into_iter()
            .filter(|(_, of_variant)| *of_variant == variant)
            .map(|(version, _)| version)
            .collect();
        let named: BTreeSet<Version> = now.annotations.values().filter_map(|value| value.parse().ok()).collect();
        let annotated: Vec<Version> = wanting.iter().copied().filter(|version| named.contains(version)).collect();
        let chosen = if annotated.is_empty() { wanting } else { annotated };
        let published = chosen.into_iter().filter_map(|version| OperatorRules::new(version).ok()).map(Arc::new);
        // Builds that nobody has published, such as one that is prepared.
        published.chain(self.config.images.builds().filter(|rules| wants(rules)).cloned()).collect()
    }

    fn variant_of(&self, set_name: &str) -> Variant {
        if set_name.starts_with(Variant::Enterprise.prefix()) { Variant::Enterprise } else { Variant::Calico }
    }

    /// S3: digests of bytes that a registry of the box holds.
    fn origin(&mut self, revision: &Revision, now: &StoredSet) {
        let unknown: Vec<String> = now
            .set
            .entries
            .iter()
            .filter(|(_, digest)| !self.known_digests.contains(digest))
            .map(|(name, digest)| format!("{name}@{digest}"))
            .collect();
        if !unknown.is_empty() {
            let text = format!("no registry of this test ever held: {}", unknown.join(", "));
            self.violation("S3", revision, text);
        }
    }

    /// S4: what was pinned once stays.
    fn silent_change(&mut self, revision: &Revision, now: &StoredSet) {
        let set = now.set.name.clone();
        let mut changes = Vec::new();
        for (image, digest) in &now.set.entries {
            let before = self.pinned.insert((set.clone(), image.clone()), digest.clone());
            if let Some(before) = before.filter(|before| before != digest) {
                changes.push(format!("{image} went from {before} to {digest}"));
            }
        }
        if !changes.is_empty() && !self.allowed.repin.contains(&set) {
            self.violation("S4", revision, changes.join("; "));
        }
    }

    /// S6: while the gate denies, an image gets into the operator's Deployment only if its version is prepared, runs, or was
    /// named by whoever broke the glass.
    fn upgrade(&mut self, revision: &Revision) {
        let in_force = self.allowed.gate_in_force.is_some_and(|from| revision.resource_version > from);
        if revision.name() != self.config.deployment || !in_force || !self.world.gate_denies() {
            return;
        }
        let image = target_image(self.config, revision);
        let glass = revision.object.annotations().get(BREAK_GLASS);
        if image == self.world.target_image || glass == image.as_ref() {
            return;
        }
        let image = image.unwrap_or_default();
        match self.config.images.rules(&image, "") {
            None if image.contains('@') => {
                let text = format!("S6 at rv={}: nobody told which build {image} is", revision.resource_version);
                self.unjudged.push(text);
            }
            None => self.violation("S6", revision, format!("{image} was admitted, which is no build of this test")),
            Some(rules) if !self.is_ready(&rules) => {
                self.violation("S6", revision, format!("{image} was admitted, and nothing is ready for it"));
            }
            Some(_) => {}
        }
    }

    /// The set of this build is stored, or recorded to be swapped in; or it runs.
    fn is_ready(&self, rules: &OperatorRules) -> bool {
        let (variant, features) = (self.world.variant(), self.world.features());
        let set = self.world.sets.get(&rules.expected_set_name(variant));
        let stored = set.is_some_and(|set| rules.strict_problems(variant, &set.set.entries, features).is_empty());
        let record = format!("record-{}-", rules.version);
        let runs =
            [&self.world.running, &self.world.target].into_iter().flatten().any(|one| one.version == rules.version);
        stored || runs || self.world.config_maps.iter().any(|name| name.starts_with(&record))
    }

    /// S5: what has not our mark is not ours to change.
    fn unmanaged(&mut self, revision: &Revision, before: Option<&StoredSet>, manager: &str) {
        let is_unmanaged = before.is_some_and(|before| !before.managed);
        let by_us = manager.starts_with(&self.config.field_manager);
        if is_unmanaged && by_us && !self.allowed.take_ownership.contains(&revision.name()) {
            self.violation("S5", revision, format!("{manager} changed a set without our label"));
        }
    }

    /// S5: the sets of the running and the target version, and foreign ones, are never deleted.
    fn deletion(&mut self, revision: &Revision, before: Option<StoredSet>) {
        let name = revision.name();
        if self.allowed.delete.contains(&name) {
            return;
        }
        if before.is_some_and(|before| !before.managed) {
            self.violation("S5", revision, "a set without our label was deleted, and no human is declared".to_owned());
        } else if self.is_protected(&name) {
            self.violation("S5", revision, "the set of the running or the target version was deleted".to_owned());
        }
    }

    fn is_protected(&self, name: &str) -> bool {
        let variant = self.world.variant();
        [&self.world.running, &self.world.target]
            .into_iter()
            .flatten()
            .any(|rules| rules.expected_set_name(variant) == name)
    }
}
