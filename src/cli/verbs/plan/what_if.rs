//! `plan` for another registry, path or FIPS mode than the Installation has. Changes the snapshot before the decision, and compares the
//! stored sets with those that would be stored. Writes nothing.

use std::collections::BTreeSet;

use clap::Args;

use crate::cli::output::digest_changes::compare;
use crate::model::{Action, Decision, Goal, GoalState, InstallationSettings, Read, Reason, Snapshot, StoredImageSet};

/// Fields of an Installation to plan for.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What if the Installation said")]
pub(super) struct WhatIf {
    /// `registry`
    #[arg(long, value_name = "HOST")]
    registry: Option<String>,

    /// `imagePath`
    #[arg(long, value_name = "PATH")]
    image_path: Option<String>,

    /// `imagePrefix`
    #[arg(long, value_name = "TEXT")]
    image_prefix: Option<String>,

    /// `fipsMode`
    #[arg(long, value_name = "MODE", value_parser = ["Enabled", "Disabled"])]
    fips: Option<String>,
}

/// The stored sets compared with those that would be stored.
pub(super) struct Difference {
    /// One line each.
    pub lines: Vec<String>,
    /// Whether another digest would be stored somewhere.
    pub differs: bool,
}

impl WhatIf {
    /// Whether a field is given.
    pub fn is_given(&self) -> bool {
        self.registry.is_some() || self.image_path.is_some() || self.image_prefix.is_some() || self.fips.is_some()
    }

    /// Changes the Installation of a snapshot; without one, what the policy expects of it.
    pub fn apply(&self, snapshot: &mut Snapshot) {
        let settings: &mut InstallationSettings = match &mut snapshot.installation {
            Read::Known(Some(installation)) => &mut installation.settings,
            _ => &mut snapshot.settings.installation,
        };
        let layout = &mut settings.layout;
        let texts = [
            (&self.registry, &mut layout.registry),
            (&self.image_path, &mut layout.image_path),
            (&self.image_prefix, &mut layout.image_prefix),
        ];
        for (flag, field) in texts {
            if let Some(flag) = flag {
                field.clone_from(flag);
            }
        }
        if let Some(fips) = &self.fips {
            settings.fips = fips == "Enabled";
        }
    }

    /// `registry: a.example, fipsMode: Enabled`.
    fn describe(&self) -> String {
        let fields = [
            ("registry", &self.registry),
            ("imagePath", &self.image_path),
            ("imagePrefix", &self.image_prefix),
            ("fipsMode", &self.fips),
        ];
        let given = fields.iter().filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?)));
        given.collect::<Vec<_>>().join(", ")
    }

    /// Compares the stored sets with those that would be stored.
    pub fn difference(&self, snapshot: &Snapshot, decision: &Decision) -> Difference {
        let first = format!("What if the Installation said {}: nothing is changed by asking.", self.describe());
        let mut difference = Difference { lines: vec![first], differs: false };
        let mut seen = BTreeSet::new();
        let stored = snapshot.image_sets.known().map_or(&[][..], Vec::as_slice);
        for goal in &decision.goals {
            let Some(set) = stored.iter().find(|set| set.name == goal.name.as_str()) else { continue };
            // Another version that has the same name does not depend on the registry.
            if matches!(goal.state, GoalState::Waiting | GoalState::Conflict) || !seen.insert(goal.name.as_str()) {
                continue;
            }
            difference.add(set, goal, decision);
        }
        if difference.lines.len() == 1 {
            difference.lines.push("  no set is stored that could differ".to_owned());
        }
        difference
    }
}

impl Difference {
    /// Adds one stored set.
    fn add(&mut self, stored: &StoredImageSet, goal: &Goal, decision: &Decision) {
        let name = goal.name.as_str();
        let missing = goal.findings.iter().filter(|finding| finding.reason == Reason::ImageMissing);
        self.lines.extend(missing.map(|finding| format!("  {name}: {}", finding.message)));
        let mut planned = decision.plan.iter().filter_map(Action::image_set);
        let Some(planned) = planned.find(|store| store.set.name() == &goal.name) else {
            let text = match goal.state {
                GoalState::Stored => "it stays as it is",
                GoalState::Resolving => "not all images could be asked for",
                _ => "no set can be made of what is there",
            };
            self.differs |= goal.state != GoalState::Stored;
            self.lines.push(format!("  {name}: {text}"));
            return;
        };
        let current = stored.images.iter().map(|entry| (entry.image.as_str(), entry.digest.as_str())).collect();
        let changes = compare(&current, &planned.set);
        if changes.lines.is_empty() {
            let same = "the same digests; for the pods nothing changes but where they pull from";
            self.lines.push(format!("  {name}: {same}"));
            return;
        }
        self.differs = true;
        self.lines.push(format!("  {name}: {} of {} entries differ", changes.lines.len(), changes.total));
        self.lines.extend(changes.lines.into_iter().map(|change| format!("    {change}")));
    }
}
