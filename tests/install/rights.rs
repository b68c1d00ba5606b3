//! Every rule of a role says why it is there, in a comment right above it, wherever a reviewer may read it.

use serde_json::Value;

use super::objects::documents;
use super::tools::{MONITORING, OPTIONS, OVERLAYS, helm};
use super::{files, root, text};

/// The rules of a text with YAML documents: the line of each, and whether a comment is above it.
fn rules(yaml: &str) -> Vec<(usize, bool)> {
    let lines: Vec<&str> = yaml.lines().collect();
    let is_role = |document: &[(usize, &&str)]| {
        document.iter().any(|(_, line)| line.trim_end().ends_with("Role") && line.starts_with("kind:"))
    };
    let numbered: Vec<(usize, &&str)> = lines.iter().enumerate().collect();
    let roles = numbered.split(|(_, line)| line.starts_with("---")).filter(|document| is_role(document));
    let mut found = Vec::new();
    for (index, line) in roles.flatten() {
        if line.trim_start().starts_with("- apiGroups") || line.trim_start().starts_with("- nonResourceURLs") {
            found.push((index + 1, *index > 0 && lines[index - 1].trim_start().starts_with('#')));
        }
    }
    found
}

fn uncommented(place: &str, yaml: &str) -> Vec<String> {
    let bare = rules(yaml).into_iter().filter(|(_, commented)| !commented);
    bare.map(|(line, _)| format!("{place}:{line}: a rule without a reason")).collect()
}

/// So that none is written in a way that is not seen.
fn counts_agree(place: &str, yaml: &str) -> usize {
    let parsed: usize =
        documents(yaml).iter().filter_map(|object| object.get("rules").and_then(Value::as_array)).map(Vec::len).sum();
    let roles = rules(yaml).len();
    assert_eq!(roles, parsed, "{place}");
    roles
}

#[test]
fn every_rule_says_why() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in files("deploy", "yaml") {
        let place = path.strip_prefix(root()).unwrap().display().to_string();
        let yaml = text(&place);
        wrong.extend(uncommented(&place, &yaml));
        // Helm's templates are judged by what comes of them.
        if !place.contains("/templates/") {
            seen += counts_agree(&place, &yaml);
        }
    }
    for flags in OVERLAYS.map(|(_, flags)| flags.to_vec()).into_iter().chain([[&MONITORING[..], &OPTIONS[..]].concat()])
    {
        let place = format!("chart {}", flags.join(" "));
        let yaml = helm(&flags);
        wrong.extend(uncommented(&place, &yaml));
        seen += counts_agree(&place, &yaml);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} rules were seen");
}

#[test]
fn a_rule_without_a_reason_is_found() {
    let yaml = "kind: Role\nrules:\n# Why.\n- apiGroups: [a]\n  resources: [b]\n- apiGroups: [c]\n---\nkind: Service\n- apiGroups: [d]\n";
    assert_eq!(uncommented("x", yaml), ["x:6: a rule without a reason"]);
}
