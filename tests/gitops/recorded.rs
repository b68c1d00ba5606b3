//! The test data of the Argo CD health check, in the layout of Argo CD's repository: recorded from stories, and judged as its own
//! test does.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CHECK, Told, judged, object, root, status_of_the_server, updates};

/// A file of testdata, and the story that it is recorded from.
const RECORDED: [(&str, &str); 7] = [
    ("healthy", "adopted-and-quiet"),
    ("healthy_plan", "adopt-observe"),
    ("progressing_missing_image", "image-missing-needed"),
    ("progressing_kinds_missing", "first-install-kinds-missing"),
    ("degraded", "edited-again-and-again"),
    ("degraded_excluded_image", "excluded-required"),
    ("suspended", "gate-suspended"),
];

#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Test {
    health_status: Told,
    input_path: String,
}

/// Name and content of each file of test data.
fn files() -> Vec<(&'static str, Value)> {
    let story = |name: &str| object(&root().join(format!("tests/scenarios/stories/{name}.yaml")));
    let mut files: Vec<(&str, Value)> = RECORDED.iter().map(|(file, name)| (*file, story(name))).collect();
    let mut changed = story(RECORDED[0].1);
    changed["metadata"]["generation"] = json!(changed["metadata"]["generation"].as_i64().unwrap() + 1);
    files.push(("progressing_changed", changed));
    let mut fresh = story(RECORDED[0].1);
    fresh["status"] = status_of_the_server();
    files.push(("progressing_new", fresh));
    files
}

#[test]
fn the_test_data_of_the_health_check_is_recorded_and_holds() {
    let folder = root().join(CHECK);
    let files = files();
    let objects: Vec<Value> = files.iter().map(|(_, object)| object.clone()).collect();
    let tests = files
        .iter()
        .zip(judged(&objects))
        .map(|((name, _), verdict)| Test { health_status: verdict.argo, input_path: format!("testdata/{name}.yaml") });
    let tests = Tests { tests: tests.collect() };
    // The files are named by what is expected.
    for test in &tests.tests {
        let name = test.input_path.trim_start_matches("testdata/");
        assert!(name.starts_with(&test.health_status.status.to_lowercase()), "{test:?}");
    }
    if updates() {
        fs::create_dir_all(folder.join("testdata")).unwrap();
        for (name, object) in &files {
            let path = folder.join(format!("testdata/{name}.yaml"));
            fs::write(path, imageset_controller::yaml::to_string(object).unwrap()).unwrap();
        }
        fs::write(folder.join("health_test.yaml"), imageset_controller::yaml::to_string(&tests).unwrap()).unwrap();
    }
    let committed: Tests =
        imageset_controller::yaml::from_str(&fs::read_to_string(folder.join("health_test.yaml")).unwrap()).unwrap();
    assert_eq!(committed, tests, "run UPDATE=1 cargo test --test gitops");
    // From here on as Argo CD's own test: the files on disk, and nothing else beside them.
    let read = |path: &str| -> Value {
        imageset_controller::yaml::from_str(&fs::read_to_string(folder.join(path)).unwrap()).unwrap()
    };
    let on_disk: Vec<Value> = committed.tests.iter().map(|test| read(&test.input_path)).collect();
    assert_eq!(on_disk, objects, "run UPDATE=1 cargo test --test gitops");
    for (test, verdict) in committed.tests.iter().zip(judged(&on_disk)) {
        assert_eq!(verdict.argo, test.health_status, "{}", test.input_path);
    }
    assert_eq!(fs::read_dir(folder.join("testdata")).unwrap().count(), committed.tests.len());
}
