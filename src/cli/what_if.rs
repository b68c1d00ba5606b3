//! `plan` for an Installation that is not so yet: another registry, another path, FIPS. Changes what was seen before it is
//! decided upon, and compares what is stored with what would be. Writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::changes;
use crate::model::action::Action;
use crate::model::decision::{Decision, GoalState};
use crate::model::read::Read;
use crate::model::reason::Reason;
use crate::model::settings::InstallationSettings;
use crate::model::snapshot::Snapshot;

/// An Installation that is not so yet.
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

/// What would be other than it is.
pub(super) struct Difference {
    /// In words, one line each.
    pub lines: Vec<String>,
    /// Whether another digest would be stored somewhere.
    pub differs: bool,
}

impl WhatIf {
    /// Whether anything is asked for.
    pub fn is_asked(&self) -> bool {
        self.registry.is_some() || self.image_path.is_some() || self.image_prefix.is_some() || self.fips.is_some()
    }

    /// Changes what was seen of the Installation; without one, what the policy expects of it.
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
        for (wanted, field) in texts {
            if let Some(wanted) = wanted {
                field.clone_from(wanted);
            }
        }
        if let Some(fips) = &self.fips {
            settings.fips = fips == "Enabled";
        }
    }

    /// `registry: a.example, fipsMode: Enabled`.
    fn told(&self) -> String {
        let fields = [
            ("registry", &self.registry),
            ("imagePath", &self.image_path),
            ("imagePrefix", &self.image_prefix),
            ("fipsMode", &self.fips),
        ];
        let told = fields.iter().filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?)));
        told.collect::<Vec<_>>().join(", ")
    }

    /// What is stored against what would be stored.
    pub fn difference(&self, snapshot: &Snapshot, decision: &Decision) -> Difference {
        let mut lines = vec![format!("What if the Installation said {}: nothing is changed by asking.", self.told())];
        let (mut differs, mut seen) = (false, BTreeSet::new());
        let stored = snapshot.image_sets.known().map_or(&[][..], Vec::as_slice);
        for goal in &decision.goals {
            let name = goal.name.as_str();
            let Some(set) = stored.iter().find(|set| set.name == name) else { continue };
            // Another version of the same name is no matter of the registry.
            if matches!(goal.state, GoalState::Waiting | GoalState::Conflict) || !seen.insert(name) {
                continue;
            }
            let missing = goal.findings.iter().filter(|finding| finding.reason == Reason::ImageMissing);
            lines.extend(missing.map(|finding| format!("  {name}: {}", finding.message)));
            let wanted =
                decision.plan.iter().filter_map(Action::image_set).find(|store| store.set.name() == &goal.name);
            let Some(wanted) = wanted else {
                let told = match goal.state {
                    GoalState::Stored => "it stays as it is",
                    GoalState::Resolving => "not all images could be asked for",
                    _ => "no set can be made of what is there",
                };
                differs |= goal.state != GoalState::Stored;
                lines.push(format!("  {name}: {told}"));
                continue;
            };
            let have: BTreeMap<&str, &str> =
                set.images.iter().map(|entry| (entry.image.as_str(), entry.digest.as_str())).collect();
            let want: BTreeMap<&str, String> =
                wanted.set.entries().iter().map(|(name, digest)| (name.as_str(), digest.to_string())).collect();
            let changes = changes::of(&have, &want);
            if changes.is_empty() {
                let same = "the same digests; for the pods nothing changes but where they pull from";
                lines.push(format!("  {name}: {same}"));
                continue;
            }
            differs = true;
            lines.push(format!("  {name}: {} of {} entries differ", changes.len(), have.len().max(want.len())));
            lines.extend(changes.into_iter().map(|change| format!("    {change}")));
        }
        if lines.len() == 1 {
            lines.push("  no set is stored that could differ".to_owned());
        }
        Difference { lines, differs }
    }
}
