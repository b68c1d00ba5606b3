//! Policies in documents and examples have only fields that exist, with values that are understood. The API server's own
//! validation is for the tests that have one.

use imageset_controller::api::ImageSetPolicy;
use imageset_controller::cluster::read::settings;
use imageset_controller::model::Reason;
use serde_json::Value;

use super::{documents, files, has_extension, shown};

/// The YAML blocks of a document.
fn blocks(document: &str) -> Vec<String> {
    let starts = document.split("```yaml\n").skip(1);
    starts.filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

/// The paths of `written` that `read` does not have: fields that nobody knows.
fn unknown(path: &str, written: &Value, read: &Value) -> Vec<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            let each = written.iter().flat_map(|(name, value)| {
                let path = format!("{path}.{name}");
                read.get(name).map_or_else(|| vec![path.clone()], |other| unknown(&path, value, other))
            });
            each.collect()
        }
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            let pairs = written.iter().zip(read).enumerate();
            pairs.flat_map(|(index, (one, other))| unknown(&format!("{path}[{index}]"), one, other)).collect()
        }
        _ if written == read => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

fn problems(yaml: &str) -> Vec<String> {
    let written: Value = match imageset_controller::yaml::from_str(yaml) {
        Ok(value) => value,
        Err(error) => return vec![error.to_string()],
    };
    let policy: ImageSetPolicy = match serde_json::from_value(written.clone()) {
        Ok(policy) => policy,
        Err(error) => return vec![error.to_string()],
    };
    let mut problems = unknown("", &written, &serde_json::to_value(&policy).unwrap());
    if policy.metadata.name.as_deref() != Some("default") {
        problems.push("its name is not default".to_owned());
    }
    let (_, findings) = settings::parse(&policy.spec);
    let wrong = [Reason::PolicyInvalid];
    problems.extend(findings.iter().filter(|one| wrong.contains(&one.reason)).map(ToString::to_string));
    problems
}

fn is_example(path: &std::path::Path) -> bool {
    path.components().any(|part| part.as_os_str() == "examples")
}

#[test]
fn policies_are_understood_and_ask_for_what_exists() {
    let mut policies: Vec<(String, String)> = Vec::new();
    for (path, text) in documents() {
        policies.extend(blocks(&text).into_iter().map(|block| (shown(&path), block)));
    }
    policies.extend(
        files(|path| path.ends_with("policy/policy.yaml") || has_extension(path, "yaml") && is_example(path))
            .into_iter()
            .map(|(path, text)| (shown(&path), text)),
    );
    policies.retain(|(_, text)| text.lines().any(|line| line == "kind: ImageSetPolicy"));
    assert!(policies.len() > 4, "only {} policies were found", policies.len());
    assert!(
        policies.iter().any(|(place, _)| place.starts_with("deploy/gitops")),
        "the example of GitOps was not found"
    );
    for (place, policy) in policies {
        assert_eq!(problems(&policy), Vec::<String>::new(), "{place}:\n{policy}");
    }
}

#[test]
fn what_is_wrong_with_a_policy_is_found() {
    let policy = |spec: &str| {
        let head = "apiVersion: imageset-controller.io/v1alpha1\nkind: ImageSetPolicy\nmetadata: {name: default}\n";
        problems(&format!("{head}spec: {spec}"))
    };
    assert_eq!(policy("{mode: Apply, prepare: {versions: [v1.42.4]}}"), Vec::<String>::new());
    assert_eq!(policy("{prepare: {version: [v1.42.4]}}"), [".spec.prepare.version"]);
    assert_eq!(policy("{mode: Off}").len(), 1);
    assert_eq!(policy("{gate: Deny}"), Vec::<String>::new());
    assert_eq!(policy("{prepare: {versions: [latest]}}").len(), 1);
}
