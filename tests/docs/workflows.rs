//! The forge's workflows call the targets of the Makefile, ask for few rights, and name actions by a version.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::root;

fn workflows() -> Vec<(String, Value)> {
    let entries = fs::read_dir(root().join(".github/workflows")).unwrap();
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, imageset_controller::yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

/// The steps of all jobs.
fn steps(workflow: &Value) -> Vec<&Value> {
    let jobs = workflow["jobs"].as_object().unwrap().values();
    jobs.flat_map(|job| job["steps"].as_array().unwrap()).collect()
}

#[test]
fn they_call_targets_that_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| line.contains("## ") && !line.starts_with(['\t', '#']))
        .filter_map(|line| line.split(':').next())
        .collect();
    let mut called = BTreeSet::new();
    let workflows = workflows();
    for (name, workflow) in &workflows {
        for run in steps(workflow).into_iter().filter_map(|step| step["run"].as_str()) {
            for target in run.split("make ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
                assert!(targets.contains(target), "{name}: there is no target {target}");
                called.insert(target);
            }
            called.extend(run.contains(".ci/run").then_some("test"));
        }
    }
    for target in ["lint", "test", "bench", "image", "msrv", "package", "fuzz", "update-catalogue"] {
        assert!(called.contains(target), "no workflow calls {target}");
    }
}

#[test]
fn they_may_do_little_and_say_whose_code_they_run() {
    for (name, workflow) in workflows() {
        assert_eq!(
            workflow["permissions"],
            imageset_controller::yaml::from_str::<Value>("contents: read").unwrap(),
            "{name}"
        );
        for (job, what) in workflow["jobs"].as_object().unwrap() {
            assert!(what["timeout-minutes"].as_u64().is_some(), "{name}: {job:?} may run for hours");
        }
        for uses in steps(&workflow).into_iter().filter_map(|step| step["uses"].as_str()) {
            let (owner, version) = uses.split_once('@').unwrap_or((uses, ""));
            let digest = version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
            let major = version.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
            // Only the forge's own, so that nobody else's code sees a token.
            assert!(owner.starts_with("actions/") && (digest || major), "{name}: {uses}");
        }
    }
}
