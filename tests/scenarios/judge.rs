//! The judge of every decision, by the operator's own rules from the published facts: each set that would be stored pleases
//! its operator (S2), and nothing is stored before the set that the running operator looks for (S1). It reads the story,
//! not the decision, to know who runs; the tests at the end prove that each rule can be broken.

use imageset_controller::model::{
    Action, CompleteImageSet, Decision, Feature, InstallationSettings, LookupResult, Motive, OperatorPod,
    PrepareVersion, Read, Reference, Snapshot, StoredImageSet, Variant as OfImageSet,
};

use crate::rules::{Features, OperatorRules, Variant};

type Entries = Vec<(String, String)>;

/// Everything about a decision that must never be.
pub fn violations(snapshot: &Snapshot, decision: &Decision) -> Vec<String> {
    violations_with(snapshot, decision, &[])
}

/// An operator build that nobody has published.
pub struct Unpublished {
    pub image: Reference,
    /// The version that it counts as.
    pub version: String,
    pub rules: OperatorRules,
}

/// The same where there are such builds.
pub fn violations_with(snapshot: &Snapshot, decision: &Decision, builds: &[Unpublished]) -> Vec<String> {
    let rules_of = |version: &str| rules_of(version, builds);
    let mut found = Vec::new();
    if !decision.plan.starts_with(&decision.actions) {
        found.push("what is done is not what is planned".to_owned());
    }
    let variant = variant(snapshot);
    let operating = operating(snapshot, builds);
    let first: Vec<OperatorRules> = operating.iter().flatten().filter_map(|version| rules_of(version)).collect();
    let wanted_by = |name: &str| first.iter().find(|rules| rules.expected_set_name(variant) == name);
    let mut armed = snapshot.image_sets.known().into_iter().flatten().any(|set| {
        wanted_by(&set.name).is_some_and(|rules| set.managed || problems(snapshot, rules, &stored(set)).is_empty())
    });
    for action in &decision.plan {
        if let Action::PruneImageSet(prune) = action {
            found.extend(wrongly_pruned(snapshot, &prune.image_set, wanted_by(&prune.image_set).is_some(), builds));
        }
        let Action::StoreImageSet(store) = action else { continue };
        let (name, entries) = (store.set.name().to_string(), store.set.entries());
        let entries: Entries = entries.iter().map(|(name, digest)| (name.to_string(), digest.to_string())).collect();
        let maker = rules_of(&store.set.origin().operator.to_string()).unwrap();
        if maker.expected_set_name(variant) != name {
            found.push(format!("operator {} never looks for {name}", maker.version));
        }
        // A set serves everybody who looks for its name: who it was made for, and who runs.
        for rules in wanted_by(&name).into_iter().chain([&maker]) {
            let told = problems(snapshot, rules, &entries).into_iter();
            found.extend(told.map(|problem| format!("operator {} would refuse {name}: {problem}", rules.version)));
        }
        armed |= wanted_by(&name).is_some();
        if !armed {
            let who = operating.as_ref().map_or("nobody knows which".to_owned(), |versions| versions.join(" or "));
            found.push(format!("{name} would be stored before the set of the operator that runs ({who})"));
        }
    }
    found
}

fn rules_of(version: &str, builds: &[Unpublished]) -> Option<OperatorRules> {
    let own = builds.iter().find(|build| build.version == version).map(|build| build.rules.clone());
    own.or_else(|| OperatorRules::for_version(version).ok())
}

/// Sets of others, of the operator that runs, and of versions that are to run are never deleted (S5).
fn wrongly_pruned(snapshot: &Snapshot, name: &str, of_running: bool, builds: &[Unpublished]) -> Option<String> {
    let managed = snapshot.image_sets.known().into_iter().flatten().any(|set| set.name == name && set.managed);
    let target = snapshot.operator.known().and_then(Option::as_ref).and_then(|deployment| deployment.image.clone());
    let mut to_run: Vec<String> = target.iter().filter_map(|image| version_of(snapshot, image, builds)).collect();
    let requested = snapshot.settings.requested.iter().filter(|one| one.until > snapshot.observed_at);
    let to_prepare = snapshot.settings.prepare.iter().chain(requested.map(|one| &one.version));
    to_run.extend(to_prepare.filter_map(PrepareVersion::release).map(|release| release.to_string()));
    let variant = variant(snapshot);
    let rules = to_run.iter().filter_map(|version| rules_of(version, builds));
    let needed = of_running || rules.into_iter().any(|rules| rules.expected_set_name(variant) == name);
    (needed || !managed).then(|| format!("{name} would be deleted, which somebody needs or which is not ours"))
}

/// What is wrong with a set for this operator, given the objects of the story.
fn problems(snapshot: &Snapshot, rules: &OperatorRules, entries: &Entries) -> Vec<String> {
    let variant = variant(snapshot);
    let mut found = rules.strict_problems(variant, entries, features(snapshot));
    if !matches!(snapshot.installation, Read::Known(Some(_))) {
        let excluded = |name: &String| snapshot.settings.exclude.iter().any(|excluded| excluded.as_str() == name);
        let listed = |name: &String| entries.iter().any(|(entry, _)| entry == name);
        let missing = rules.names_of(variant).into_iter().filter(|name| !excluded(name) && !listed(name));
        found.extend(missing.map(|name| format!("nothing tells that {name} is not needed")));
    }
    found
}

/// The story's objects; all there are where that cannot be read.
fn features(snapshot: &Snapshot) -> Features {
    let known = match &snapshot.features {
        Read::Known(known) => known,
        Read::KindMissing => return Features::none(),
        Read::Failed(_) => return Features::all(),
    };
    let has = |feature| known.contains(&feature);
    Features {
        api_server: has(Feature::ApiServer),
        goldmane: has(Feature::Goldmane),
        whisker: has(Feature::Whisker),
        gateway_api: has(Feature::GatewayApi),
        istio: has(Feature::Istio),
        management_cluster_connection: has(Feature::ManagementClusterConnection),
        windows_hns: has(Feature::WindowsHns),
        certificate_management: has(Feature::CertificateManagement),
        native_v3: has(Feature::NativeDefinitions),
        openshift_aws: has(Feature::OpenShiftOnAws),
        enterprise_definitions: has(Feature::EnterpriseDefinitions),
        other_cni: !has(Feature::CniPlugins),
        ..Features::none()
    }
}

fn variant(snapshot: &Snapshot) -> Variant {
    let settings = match &snapshot.installation {
        Read::Known(Some(installation)) => &installation.settings,
        _ => &snapshot.settings.installation,
    };
    match settings.variant {
        OfImageSet::Calico => Variant::Calico,
        OfImageSet::Enterprise => Variant::Enterprise,
    }
}

fn stored(set: &StoredImageSet) -> Entries {
    set.images.iter().map(|entry| (entry.image.clone(), entry.digest.clone())).collect()
}

/// The versions of which one needs its set first: of Ready pods (old ones lead until they are gone); else of who was Ready
/// last; else of old pods, which may be back; else the target. `None` where a version that counts is not known.
fn operating(snapshot: &Snapshot, builds: &[Unpublished]) -> Option<Vec<String>> {
    let pods = snapshot.operator_pods.known()?;
    let target = snapshot.operator.known()?.as_ref().map(|deployment| deployment.image.as_deref());
    let digest = |image: &str| image.split_once('@').map(|(_, digest)| digest.to_owned());
    let is_target =
        |target: &str, image: &str| target == image || (digest(target).is_some() && digest(target) == digest(image));
    let is_old = |pod: &&OperatorPod| !target.flatten().is_some_and(|target| is_target(target, &pod.image));
    let versions = |pods: Vec<&OperatorPod>| pods.iter().map(|pod| version_of(snapshot, &pod.image, builds)).collect();
    let (old_ready, ready): (Vec<_>, Vec<_>) = pods.iter().filter(|pod| pod.ready).partition(is_old);
    if !old_ready.is_empty() {
        return versions(old_ready);
    }
    if !ready.is_empty() {
        // A webhook may have rewritten their images.
        return Some(vec![version_of(snapshot, target.flatten()?, builds)?]);
    }
    if let Some(running) = &snapshot.remembered.running_version {
        return Some(vec![running.clone()]);
    }
    let old: Vec<&OperatorPod> = pods.iter().filter(is_old).collect();
    if !old.is_empty() {
        return versions(old);
    }
    match (target, snapshot.settings.prepare.as_slice()) {
        (Some(image), _) => Some(vec![version_of(snapshot, image?, builds)?]),
        (None, [PrepareVersion::Release(only)]) => Some(vec![only.to_string()]),
        (None, _) => None,
    }
}

/// As the story says; by the label of the image where that was asked for, else by the tag, else as the status remembers it.
fn version_of(snapshot: &Snapshot, image: &str, builds: &[Unpublished]) -> Option<String> {
    let reference: Reference = image.parse().ok()?;
    if let Some(build) = builds.iter().find(|build| build.image == reference) {
        return Some(build.version.clone());
    }
    let released = reference.tag().is_some_and(|tag| OperatorRules::for_version(tag).is_ok());
    // A released tag says so itself; its label may have been asked for the digest's sake.
    if let (Some(LookupResult::Known(operator)), false) =
        (snapshot.lookup_results.operators.get(&reference), released && reference.digest().is_none())
    {
        return operator.version.clone();
    }
    let remembered = &snapshot.remembered;
    let pairs = [
        (&remembered.running_image, &remembered.running_version),
        (&remembered.target_image, &remembered.target_version),
    ];
    let remembered = pairs.into_iter().find(|(known, _)| known.as_deref() == Some(image));
    let tag = reference.tag().filter(|_| reference.digest().is_none()).map(str::to_owned);
    tag.filter(|tag| OperatorRules::for_version(tag).is_ok()).or_else(|| remembered?.1.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use imageset_controller::catalogue::Catalogue;
    use imageset_controller::model::{
        Digest, ImageName, Precondition, ReadFailure, RecordKey, StoreImageSet, StoredImage,
    };

    use super::*;

    /// A story that passes, with its decision.
    fn told(name: &str) -> (Snapshot, Decision) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/stories");
        let (snapshot, decision, _) = crate::pass(&crate::read(&folder.join(format!("{name}.yaml"))));
        assert_eq!(violations(&snapshot, &decision), Vec::<String>::new(), "{name}");
        assert!(stores(&decision).next().is_some(), "{name} stores nothing, so that nothing could be wrong");
        (snapshot, decision)
    }

    fn stores(decision: &Decision) -> impl Iterator<Item = &StoreImageSet> {
        decision.plan.iter().filter_map(|action| match action {
            Action::StoreImageSet(store) => Some(&**store),
            _ => None,
        })
    }

    /// Only sets, in this order.
    fn planned(stores: Vec<StoreImageSet>) -> Decision {
        let plan: Vec<Action> = stores.into_iter().map(|store| Action::StoreImageSet(Box::new(store))).collect();
        Decision { actions: plan.clone(), plan, ..Decision::default() }
    }

    /// The set of a release with some names taken out and some put in.
    fn set_of(release: &str, without: &[&str], with: &[&str]) -> StoreImageSet {
        let images = Catalogue::embedded().get(&release.parse().unwrap()).unwrap();
        let kept = images.set_images(OfImageSet::Calico, false).into_keys();
        let kept = kept.filter(|name| !without.contains(&name.as_str()));
        let added = with.iter().map(|name| name.parse::<ImageName>().unwrap());
        let entries = kept.chain(added).map(|name| (name, Digest::of(b"x"))).collect();
        let key = RecordKey::new(images.release(), &InstallationSettings::default());
        let name = images.image_set_name(OfImageSet::Calico).unwrap();
        let set = CompleteImageSet::new(name, images.release(), &key, entries, &BTreeSet::new(), |_| true);
        let motive = Motive::Create;
        StoreImageSet { set: set.unwrap(), precondition: Precondition::Absent, motive }
    }

    fn found(snapshot: &Snapshot, decision: &Decision, words: &str) {
        let found = violations(snapshot, decision);
        assert!(found.iter().any(|violation| violation.contains(words)), "{words:?} is not among {found:?}");
    }

    fn none_found(snapshot: &Snapshot, decision: &Decision) {
        assert_eq!(violations(snapshot, decision), Vec::<String>::new());
    }

    const BEFORE: &str = "would be stored before the set of the operator that runs";

    #[test]
    fn the_judge_sees_a_wrong_order() {
        let (mut snapshot, decision) = told("upgrade-in-order");
        let in_order: Vec<StoreImageSet> = stores(&decision).cloned().collect();
        let [running, target] = <[StoreImageSet; 2]>::try_from(in_order).unwrap();
        found(&snapshot, &planned(vec![target.clone(), running.clone()]), BEFORE);
        found(&snapshot, &planned(vec![target.clone()]), BEFORE);
        none_found(&snapshot, &planned(vec![running.clone(), target.clone()]));

        // What is stored already counts, if it is ours or right.
        let entries = running.set.entries().iter();
        let mut stored = StoredImageSet {
            name: running.set.name().to_string(),
            images: entries
                .map(|(image, digest)| StoredImage { image: image.to_string(), digest: digest.to_string() })
                .collect(),
            ..StoredImageSet::default()
        };
        let only_target = planned(vec![target]);
        snapshot.image_sets = Read::Known(vec![stored.clone()]);
        none_found(&snapshot, &only_target);
        stored.images.retain(|entry| entry.image != "calico/node");
        snapshot.image_sets = Read::Known(vec![stored.clone()]);
        found(&snapshot, &only_target, BEFORE);
        stored.managed = true;
        snapshot.image_sets = Read::Known(vec![stored.clone()]);
        none_found(&snapshot, &only_target);
        stored.name = "calico-v3.0.0".to_owned();
        snapshot.image_sets = Read::Known(vec![stored]);
        found(&snapshot, &only_target, BEFORE);
    }

    #[test]
    fn the_judge_knows_who_comes_first() {
        let (mut snapshot, decision) = told("first-install");
        let target = stores(&decision).next().unwrap().clone();
        found(&snapshot, &planned(vec![set_of("v1.40.15", &[], &[]), target.clone()]), BEFORE);
        snapshot.settings.prepare.push(PrepareVersion::Release("v1.40.15".parse().unwrap()));
        found(&snapshot, &planned(vec![target]), "nobody knows which");

        let (mut snapshot, decision) = told("upgrade-old-pod-not-ready");
        let Read::Known(pods) = &mut snapshot.operator_pods else { panic!("pods") };
        // Only the new one is left: then it is its set that comes first.
        pods.retain(|pod| pod.image.ends_with("v1.42.4"));
        let first = stores(&decision).next().unwrap().clone();
        found(&snapshot, &planned(vec![first]), BEFORE);
        snapshot.remembered.running_version = Some("v1.40.15".to_owned());
        none_found(&snapshot, &decision);

        let (mut snapshot, decision) = told("version-by-digest");
        snapshot.lookup_results.operators.clear();
        found(&snapshot, &decision, "nobody knows which");
    }

    #[test]
    fn the_judge_sees_what_an_operator_would_refuse() {
        let (mut snapshot, _) = told("upgrade-in-order");
        snapshot.operator_pods = Read::Known(Vec::new());
        let of = |without: &[&str], with: &[&str]| planned(vec![set_of("v1.42.4", without, with)]);
        none_found(&snapshot, &of(&[], &[]));
        found(&snapshot, &of(&["calico/node"], &[]), "insists on calico/node");
        found(&snapshot, &of(&[], &["tigera/operator"]), "does not accept the name tigera/operator");
        // Objects in the cluster make further images required; so does not knowing which there are.
        for (feature, image) in [
            (&[Feature::ApiServer][..], "calico/apiserver"),
            (&[Feature::Goldmane], "calico/goldmane"),
            (&[Feature::Goldmane, Feature::Whisker], "calico/whisker-backend"),
            (&[Feature::GatewayApi], "calico/envoy-proxy"),
            (&[Feature::Istio], "calico/istio-pilot"),
            (&[Feature::ManagementClusterConnection], "calico/guardian"),
            (&[Feature::WindowsHns], "calico/node-windows"),
        ] {
            let insists = format!("insists on {image}");
            snapshot.features = Read::Known(BTreeSet::new());
            none_found(&snapshot, &of(&[image], &[]));
            snapshot.features = Read::Known(feature.iter().copied().collect());
            found(&snapshot, &of(&[image], &[]), &insists);
            let failure = ReadFailure { what: "list".to_owned(), forbidden: false, message: String::new() };
            snapshot.features = Read::Failed(failure);
            found(&snapshot, &of(&[image], &[]), &insists);
        }
    }

    #[test]
    fn the_judge_wants_everything_before_there_is_an_installation() {
        let (mut snapshot, _) = told("first-install");
        let without = planned(vec![set_of("v1.42.4", &["calico/webhooks"], &[])]);
        found(&snapshot, &without, "nothing tells that calico/webhooks is not needed");
        snapshot.settings.exclude = BTreeSet::from(["calico/webhooks".parse().unwrap()]);
        none_found(&snapshot, &without);
    }

    /// Two releases look for one name: what is stored under it must please the one that runs.
    #[test]
    fn the_judge_sees_a_set_that_only_another_operator_wants() {
        let (mut snapshot, _) = told("upgrade-in-order");
        let twins = crate::rules::all_versions().iter().map(ToString::to_string).collect::<Vec<_>>();
        let name = |version: &String| OperatorRules::for_version(version).unwrap().expected_set_name(Variant::Calico);
        let names = |version: &String| OperatorRules::for_version(version).unwrap().names_of(Variant::Calico);
        let pairs = twins.iter().flat_map(|one| twins.iter().map(move |other| (one, other)));
        let Some((runs, other)) = pairs.into_iter().find(|(one, other)| {
            name(one) == name(other) && !names(other).is_subset(OperatorRules::for_version(one).unwrap().known_names())
        }) else {
            panic!("no two releases share a name with different images")
        };
        let image = format!("quay.io/tigera/operator:{runs}");
        snapshot.operator_pods = Read::Known(vec![OperatorPod {
            name: "a".to_owned(),
            image,
            image_digest: None,
            ready: true,
            ready_since: None,
        }]);
        found(&snapshot, &planned(vec![set_of(other, &[], &[])]), &format!("operator {runs} would refuse"));
    }

    #[test]
    fn the_judge_sees_what_was_never_planned() {
        let (snapshot, mut decision) = told("upgrade-in-order");
        decision.plan.pop();
        found(&snapshot, &decision, "what is done is not what is planned");
    }
}
