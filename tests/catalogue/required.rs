//! What releases require: the project's data against the facts, and the set that is made against the rules of the double, which
//! reads the facts by itself.

use std::collections::BTreeSet;

use imageset_controller::catalogue::Catalogue;
use imageset_controller::catalogue::required::condition::RuleCondition;
use imageset_controller::catalogue::required::source;
use imageset_controller::catalogue::required::table::RequiredTable;
use imageset_controller::model::{Feature, ImageName, InstallationSettings, OperatorImages, Variant};
use serde::Deserialize;

use super::rules::{self, Component, EnterpriseObjects, Features, NamedSet, OperatorRules};
use super::{VARIANTS, release};

const TABLE: &str = include_str!("../../data/required-images.txt");

/// A range of the facts file.
#[derive(Deserialize)]
struct Fact {
    releases: Vec<String>,
    variant: String,
    always: Vec<String>,
    when: Vec<Rule>,
    unsatisfiable: Vec<Rule>,
    never: Vec<String>,
    outside_list: Vec<Outside>,
}

/// A name of the other variant's list.
#[derive(Deserialize)]
struct Outside {
    image: String,
}

#[derive(Deserialize)]
struct Rule {
    id: String,
    images: Vec<String>,
    #[serde(default)]
    fields: Vec<String>,
}

impl Rule {
    /// The condition of the data file: it distinguishes rules that the facts tell apart by their fields only.
    fn condition(&self) -> RuleCondition {
        let says = |field: &str| self.fields.iter().any(|one| one == field);
        match self.id.as_str() {
            "apiserver" if says("native-v3-crds = false") => RuleCondition::ApiServerAggregated,
            "istio" if says("Enterprise CRDs installed") => RuleCondition::IstioEnterprise,
            id => RuleCondition::of_id(id).unwrap_or_else(|| panic!("{id} is not known")),
        }
    }
}

fn facts() -> Vec<Fact> {
    serde_json::from_str(include_str!("../facts/required-images.json")).unwrap()
}

/// The names that a release may require beside the list of the variant, the operator's own aside.
pub fn names_of_other_list(version: &str, variant: Variant) -> BTreeSet<String> {
    let facts = facts();
    let of_variant =
        |fact: &&Fact| fact.variant == variant.to_string() && fact.releases.iter().any(|one| one == version);
    let outside = facts.iter().find(of_variant).unwrap().outside_list.iter().map(|outside| outside.image.clone());
    outside.filter(|name| name != "tigera/operator").collect()
}

fn of_rules(variant: Variant) -> rules::Variant {
    match variant {
        Variant::Calico => rules::Variant::Calico,
        Variant::Enterprise => rules::Variant::Enterprise,
    }
}

fn images(version: &str) -> OperatorImages {
    Catalogue::embedded().get(&release(version)).unwrap()
}

#[test]
fn the_table_says_what_the_facts_say() {
    let table = RequiredTable::embedded();
    let mut seen = 0;
    for fact in facts() {
        let variant = if fact.variant == "Calico" { Variant::Calico } else { Variant::Enterprise };
        assert_eq!(fact.never, Vec::<String>::new(), "a name that nothing requires has no place in the table");
        let mut expected: BTreeSet<(RuleCondition, String)> =
            fact.always.iter().map(|name| (RuleCondition::Always, name.clone())).collect();
        for rule in &fact.when {
            expected.extend(rule.images.iter().map(|name| (rule.condition(), name.clone())));
        }
        let impossible: BTreeSet<RuleCondition> = fact.unsatisfiable.iter().map(Rule::condition).collect();
        for version in &fact.releases {
            let range = table.range_of(release(version)).unwrap();
            let rules: BTreeSet<(RuleCondition, String)> =
                range.images(variant).map(|(condition, name)| (condition, name.to_string())).collect();
            assert_eq!(rules, expected, "{version} {variant}");
            let without_set: BTreeSet<RuleCondition> =
                range.without_set(variant).filter(|condition| *condition != RuleCondition::Fips).collect();
            assert_eq!(without_set, impossible, "{version} {variant}");
            let refused = OperatorRules::for_version(version).unwrap().refuses_fips(of_rules(variant));
            assert_eq!(
                range.without_set(variant).any(|one| one == RuleCondition::Fips),
                refused,
                "{version} {variant}"
            );
            assert!(images(version).has_known_requirements(), "{version}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2 * 264);
    assert_eq!(table.to_text(), TABLE);
}

#[test]
fn the_table_is_what_adding_every_release_to_an_empty_file_makes() {
    let facts = include_str!("../facts/required-images.json");
    let mut table = RequiredTable::default();
    for version in rules::all_versions() {
        let release = release(&version.to_string());
        table.add(release, source::rules_of(facts, release).unwrap());
    }
    // FIPS mode is not part of the facts about images: its ranges begin elsewhere.
    let without_fips = |text: &str| text.lines().filter(|line| !line.contains(" fips ")).map(str::to_owned).collect();
    let (made, committed): (Vec<String>, Vec<String>) = (without_fips(&table.to_text()), without_fips(TABLE));
    let changes = |lines: &[String]| lines.iter().filter(|line| line.starts_with("  ")).cloned().collect::<Vec<_>>();
    assert_eq!(changes(&made), changes(&committed));
}

#[test]
fn rules_of_a_new_release_are_added_with_its_fips_mode() {
    let facts = include_str!("../facts/required-images.json").replace("\"v1.43.0\"", "\"v1.99.0\"");
    let next = release("v1.99.0");
    let mut table = RequiredTable::parse(TABLE).unwrap();
    table.add(next, source::rules_of(&facts, next).unwrap());
    let added = table.to_text();
    assert_eq!(added, format!("{TABLE}v1.99.0 to v1.99.0\n"), "the same rules, in a minor series of its own");
    assert_eq!(RequiredTable::parse(&added).unwrap().to_text(), added);
    assert!(table.range_of(next).unwrap().without_set(Variant::Calico).any(|one| one == RuleCondition::Fips));
    assert!(source::rules_of(&facts, release("v1.45.0")).unwrap_err().to_string().contains("no rules of Calico"));
    let unknown = facts.replace("\"id\": \"whisker\"", "\"id\": \"vizier\"");
    assert!(source::rules_of(&unknown, next).unwrap_err().to_string().contains("\"vizier\" is not known"));
}

/// Each condition alone, and all of them together, as the product and as the double see the cluster.
fn clusters() -> Vec<(BTreeSet<Feature>, Features)> {
    let none = Features::none();
    let with = |kind: &str| Features { enterprise: EnterpriseObjects::default().with(kind), ..none };
    let mut alone = vec![
        (vec![], Features { other_cni: true, ..none }),
        (vec![Feature::CniPlugins], none),
        (vec![Feature::ApiServer], Features { api_server: true, ..none }),
        (vec![Feature::ApiServer, Feature::NativeDefinitions], Features { api_server: true, native_v3: true, ..none }),
        (vec![Feature::Goldmane], Features { goldmane: true, ..none }),
        (vec![Feature::Whisker], Features { whisker: true, ..none }),
        (vec![Feature::Goldmane, Feature::Whisker], Features { goldmane: true, whisker: true, ..none }),
        (vec![Feature::GatewayApi], Features { gateway_api: true, ..none }),
        (vec![Feature::Istio], Features { istio: true, ..none }),
        (
            vec![Feature::Istio, Feature::EnterpriseDefinitions],
            Features { istio: true, enterprise_definitions: true, ..none },
        ),
        (vec![Feature::ManagementClusterConnection], Features { management_cluster_connection: true, ..none }),
        (vec![Feature::WindowsHns], Features { windows_hns: true, ..none }),
        (vec![Feature::CertificateManagement], Features { certificate_management: true, ..none }),
        (vec![Feature::OpenShiftOnAws], Features { openshift_aws: true, ..none }),
        (vec![Feature::LogCollector, Feature::WindowsNodes], Features { windows_nodes: true, ..with("LogCollector") }),
    ];
    let kinds = [
        Feature::AmazonCloudIntegration,
        Feature::ApplicationLayer,
        Feature::Authentication,
        Feature::Compliance,
        Feature::EgressGateway,
        Feature::IntrusionDetection,
        Feature::LogCollector,
        Feature::LogStorage,
        Feature::Manager,
        Feature::Monitor,
        Feature::PacketCaptureApi,
        Feature::PolicyRecommendation,
    ];
    alone.extend(kinds.map(|kind| (vec![kind], with(kind.kind()))));
    let managed = vec![Feature::LogStorage, Feature::IntrusionDetection, Feature::ManagementClusterConnection];
    let both = EnterpriseObjects::default().with("LogStorage").with("IntrusionDetection");
    alone.push((managed, Features { management_cluster_connection: true, enterprise: both, ..none }));
    let mut alone: Vec<(BTreeSet<Feature>, Features)> = alone
        .into_iter()
        .map(|(features, as_seen)| {
            let mut features: BTreeSet<Feature> = features.into_iter().collect();
            if !as_seen.other_cni {
                features.insert(Feature::CniPlugins);
            }
            (features, as_seen)
        })
        .collect();
    let all = Feature::ALL.into_iter();
    let all = all.filter(|one| {
        !matches!(one, Feature::OpenShiftOnAws | Feature::NativeDefinitions | Feature::NativeDefinitionsUnclear)
    });
    let enterprise = kinds.iter().fold(EnterpriseObjects::default(), |objects, kind| objects.with(kind.kind()));
    let together = Features { enterprise_definitions: true, windows_nodes: true, enterprise, ..Features::all() };
    alone.push((all.collect(), together));
    alone
}

/// The set that is made for a cluster: names with made-up digests.
fn made(images: &OperatorImages, variant: Variant, features: &BTreeSet<Feature>) -> Vec<(String, String)> {
    let required = images.requires(variant, features);
    let digest = format!("sha256:{}", "a".repeat(64));
    let entries = images.entries(variant, false, &required);
    for name in &required {
        assert!(entries.contains_key(name), "{name} has no reference");
    }
    entries.into_keys().map(|name: ImageName| (name.to_string(), digest.clone())).collect()
}

/// Whether every controller that is at work takes the set.
fn takes(rules: &OperatorRules, variant: rules::Variant, features: Features, set: &NamedSet) -> Result<(), String> {
    for component in rules.active_components(variant, features) {
        let verdict = rules.judge(component, variant, features, std::slice::from_ref(set));
        verdict.map_err(|refusal| format!("{}: {}", refusal.component, refusal.message))?;
    }
    Ok(())
}

#[test]
fn every_operator_takes_the_set_that_is_made_and_refuses_it_without_any_required_name() {
    let clusters = clusters();
    for version in rules::all_versions() {
        let images = images(&version.to_string());
        let rules = OperatorRules::new(version).unwrap();
        for variant in VARIANTS {
            let of_rules = of_rules(variant);
            let name = rules.expected_set_name(of_rules);
            for (number, (features, as_seen)) in clusters.iter().enumerate() {
                let at = || format!("{version} {variant} {features:?}");
                if images
                    .no_set(&InstallationSettings { variant, ..InstallationSettings::default() }, features)
                    .is_some()
                {
                    let entries = made(&images, variant, features);
                    let set = NamedSet { name: name.clone(), entries };
                    assert!(takes(&rules, of_rules, *as_seen, &set).is_err(), "{}: a set is possible", at());
                    continue;
                }
                let required: BTreeSet<String> =
                    images.requires(variant, features).into_iter().map(String::from).collect();
                assert_eq!(required, rules.required_names(of_rules, *as_seen), "{}", at());
                let set = NamedSet { name: name.clone(), entries: made(&images, variant, features) };
                assert_eq!(takes(&rules, of_rules, *as_seen, &set), Ok(()), "{}", at());
                // What any cluster requires is left out once, with and without everything else.
                let base = images.requires(variant, &clusters[0].0);
                let is_new = |name: &&String| {
                    number == 0 || number + 1 == clusters.len() || !base.iter().any(|one| one.as_str() == **name)
                };
                for left_out in required.iter().filter(is_new) {
                    let entries = set.entries.iter().filter(|(name, _)| name != left_out).cloned().collect();
                    let set = NamedSet { name: name.clone(), entries };
                    let refused = takes(&rules, of_rules, *as_seen, &set).unwrap_err();
                    assert!(refused.contains(left_out.as_str()), "{} without {left_out}: {refused}", at());
                }
            }
        }
    }
}

#[test]
fn no_set_is_possible_in_fips_mode_exactly_where_the_operator_refuses_it() {
    for version in rules::all_versions() {
        let rules = OperatorRules::new(version).unwrap();
        for variant in VARIANTS {
            let installation = InstallationSettings { variant, fips: true, ..InstallationSettings::default() };
            let no_set = images(&version.to_string()).no_set(&installation, &BTreeSet::new());
            let features = Features { fips: true, ..Features::none() };
            let refused = rules.judge(Component::Calico, of_rules(variant), features, &[]).is_err();
            assert_eq!(no_set == Some(RuleCondition::Fips), refused, "{version} {variant}");
        }
    }
}
