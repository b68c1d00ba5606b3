//! The fault campaign (`make faults`): what happens in a cluster × what goes wrong × where. A real kube-apiserver and registry, each
//! behind a proxy that injects the faults of a plan; the operator double and the invariant recorder at work. Whatever goes wrong: the
//! invariants hold in every revision, the same sets and records are stored as without it, and then nothing more is written.
//!
//! `make faults` runs every plan, `make faults PLAN=id` one, with what it printed; `PLAN=scenario/` those of one scenario. `make test`
//! runs a fixed sample. A failing plan leaves its timeline under `target/faults`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../testbox/mod.rs"]
mod testbox;
#[allow(dead_code)]
#[path = "../apiserver/world.rs"]
mod world;

mod lane;
mod plan;
mod registry;
mod scenario;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lane::{Lane, Left};
use plan::{Counts, Fault, Plan};
use scenario::Scenario;

/// Lanes of the whole campaign. Plans wait more than they work.
const LANES: usize = 6;
/// Lanes of the sample, beside which other tests run.
const LANES_OF_SAMPLE: usize = 2;

/// The sample: the plans that have found something, and one of each kind.
const SAMPLE: &[&str] = &[
    "first-arming/restart",
    "first-arming/api-crash-1-after-the-response",
    "first-arming/api-crash-2-before-the-response",
    "first-arming/registry-crash-7",
    "first-arming/api-delay-all-300ms",
    "first-arming/api-delay-get-secrets-5000ms",
    "first-arming/api-create-imagesets-unheard-times-1",
    "first-arming/api-patch-imagesetpolicies-status-status-409-times-1",
    "first-arming/registry-1-status-503-times-3",
    "first-arming/silent-connections",
    "unprepared-upgrade/api-crash-2-before-it",
    "unprepared-upgrade/object-changed-record",
    "staged-upgrade/watches-stalls",
    "same-name-swap/rival-second-instance",
    "rotated-credential/api-delay-all-300ms",
    "edited-set/object-unlabelled-record",
    "gate-on/object-odd-node",
    "gate-on/object-unlabelled-record",
    "lost-record/restart",
    "moved-tag/watches-cut",
];

/// What a campaign came to.
#[derive(Default)]
struct Tally {
    /// By scenario and by kind of fault: how many ran.
    ran: BTreeMap<(String, &'static str), usize>,
    failed: Vec<String>,
    /// The fault did not come: a write or a request more or less.
    absent: Vec<String>,
}

/// What plans of a scenario are compared with.
type Baselines = BTreeMap<Scenario, (Left, Counts)>;

/// Runs the plans side by side in the lanes, and what `each` makes of the outcome of each.
async fn run<T>(
    lanes: &mut [Lane],
    plans: Vec<Plan>,
    expected: &Baselines,
    each: impl Fn(Plan, Result<lane::Ran, String>) -> T,
) -> Vec<T> {
    let queue = Mutex::new(VecDeque::from(plans));
    let running = lanes.iter_mut().map(async |lane| {
        let mut outcomes = Vec::new();
        loop {
            let Some(plan) = queue.lock().unwrap().pop_front() else { return outcomes };
            let expected = expected.get(&plan.scenario).map(|(left, _)| left);
            outcomes.push(each(plan, lane.run(plan, expected).await));
        }
    });
    futures::future::join_all(running).await.into_iter().flatten().collect()
}

/// Runs each scenario without faults.
async fn baselines(lanes: &mut [Lane], scenarios: Vec<Scenario>) -> Baselines {
    let plans = scenarios.into_iter().map(|scenario| Plan { scenario, fault: Fault::None }).collect();
    let ran = run(lanes, plans, &Baselines::default(), |plan, outcome| {
        let ran = outcome.unwrap_or_else(|error| panic!("{plan}: {error}"));
        let Counts { writes, requests, .. } = &ran.counts;
        println!("{plan}: {:.1} s, {} writes, {requests} registry requests", ran.took.as_secs_f64(), writes.len());
        (plan.scenario, (ran.left, ran.counts))
    })
    .await;
    ran.into_iter().collect()
}

/// Runs the plans that `wanted` picks of those of these scenarios.
async fn campaign(lanes: usize, scenarios: Vec<Scenario>, wanted: impl Fn(&Plan) -> bool) -> Tally {
    let started = Instant::now();
    let mut lanes = futures::future::join_all((0..lanes).map(|_| Lane::start())).await;
    let expected = baselines(&mut lanes, scenarios).await;
    let all = expected.iter().flat_map(|(scenario, (_, counts))| plan::of(*scenario, counts));
    let mut plans: Vec<Plan> = all.filter(|plan| wanted(plan)).collect();
    // Those that wait first, so that the last minutes are not theirs.
    plans.sort_by_key(|plan| !plan.fault.waits());
    let count = plans.len();
    println!("{count} plans, after {:.0} s", started.elapsed().as_secs_f64());
    let tally = Mutex::new(Tally::default());
    run(&mut lanes, plans, &expected, |plan, outcome| {
        let mut tally = tally.lock().unwrap();
        *tally.ran.entry((plan.scenario.to_string(), plan.fault.kind())).or_default() += 1;
        let number: usize = tally.ran.values().sum();
        match outcome {
            Ok(ran) => {
                let absent = if ran.came { "" } else { ", the fault did not come" };
                println!("[{number}/{count}] kept: {plan} ({:.1} s{absent})", ran.took.as_secs_f64());
                if !ran.came {
                    tally.absent.push(plan.to_string());
                }
            }
            Err(error) => {
                let file = file_of(plan);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, &error).unwrap();
                println!("[{number}/{count}] FAILED: {plan}\n{error}\n(all of it: {})", file.display());
                tally.failed.push(plan.to_string());
            }
        }
    })
    .await;
    let tally = tally.into_inner().unwrap();
    summary(&tally, started.elapsed());
    tally
}

fn file_of(plan: Plan) -> std::path::PathBuf {
    let name = plan.to_string().replace('/', "-");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults").join(format!("{name}.txt"))
}

fn summary(tally: &Tally, took: Duration) {
    let mut kinds: Vec<&str> = tally.ran.keys().map(|(_, kind)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut scenarios: Vec<&String> = tally.ran.keys().map(|(scenario, _)| scenario).collect();
    scenarios.dedup();
    println!("\nplans by scenario and fault:");
    for scenario in scenarios {
        let counts = kinds.iter().filter_map(|kind| {
            let count = tally.ran.get(&(scenario.clone(), *kind))?;
            Some(format!("{count} {kind}"))
        });
        println!("  {scenario}: {}", counts.collect::<Vec<_>>().join(", "));
    }
    let all: usize = tally.ran.values().sum();
    println!(
        "{all} plans in {:.0} s: {} kept, {} failed, in {} of them the fault did not come",
        took.as_secs_f64(),
        all - tally.failed.len(),
        tally.failed.len(),
        tally.absent.len()
    );
    for plan in &tally.failed {
        println!("failed; alone with: make faults PLAN={plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_plans_is_kept() {
    let scenarios: Vec<Scenario> = Scenario::ALL
        .into_iter()
        .filter(|scenario| SAMPLE.iter().any(|id| id.starts_with(&format!("{scenario}/"))))
        .collect();
    let tally = campaign(LANES_OF_SAMPLE, scenarios, |plan| SAMPLE.contains(&plan.to_string().as_str())).await;
    assert_eq!(tally.ran.values().sum::<usize>(), SAMPLE.len(), "a plan of the sample does not exist");
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make faults"]
async fn every_plan_is_kept() {
    let id = std::env::var("PLAN").unwrap_or_default();
    let of_plan = |scenario: &Scenario| id.is_empty() || id.starts_with(&format!("{scenario}/"));
    let scenarios: Vec<Scenario> = Scenario::ALL.into_iter().filter(of_plan).collect();
    assert!(!scenarios.is_empty(), "no such plan: {id}");
    let lanes = if scenarios.len() == 1 && !id.ends_with('/') { 1 } else { LANES };
    let wanted = |plan: &Plan| id.is_empty() || (id.ends_with('/') && id.len() > 1) || plan.to_string() == id;
    let tally = campaign(lanes, scenarios, wanted).await;
    assert!(tally.ran.values().sum::<usize>() > 0, "no such plan: {id}");
    assert!(tally.failed.is_empty(), "{} plans failed: {:?}", tally.failed.len(), tally.failed);
}
