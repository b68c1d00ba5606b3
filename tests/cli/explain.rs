//! `explain` and `version`: answers that need neither cluster nor registry.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{assert_contains, command, outcome, run};

/// A message as people paste it, the reason of it, and a word of what helps.
const MESSAGES: [(&str, &str, &str); 15] = [
    (
        "    message: 'invalid ImageSet: ImageSet did not contain\n      image calico/csi'\n    observedGeneration: 1",
        "ImagesNotListed: calico/csi",
        "made anew",
    ),
    ("State: Waiting\n Reason: ErrImagePull\n", "PullFailed", "look at the events"),
    (
        "Unable to create the Tigera CA: ImageSets exist but none with the expected name calico-v3.32.1",
        "ExactImageSetMissing: calico-v3.32.1",
        "have the set of that name stored",
    ),
    (
        "Error validating ImageSet: ImageSet calico-v3.32.1: unexpected images: tigera/operator",
        "UnexpectedImages: tigera/operator",
        "drop the entry",
    ),
    (
        "Error with images from ImageSet: ImageSet calico-v3.32.1: unexpected images: tigera/key-cert-provisioner",
        "UnexpectedImages: tigera/key-cert-provisioner",
        "rename the entry",
    ),
    (
        "invalid ImageSet: ImageSet did not contain image calico/typha,\n    ImageSet did not contain image calico/cni",
        "ImagesNotListed: calico/cni, calico/typha",
        "made anew for this version",
    ),
    (
        "ImageSet calico-v3.32.1: bad digest images: calico/csi@md5:5371",
        "DigestsMalformed: calico/csi@md5:5371",
        "made anew",
    ),
    (
        "Pod calico-system/calico-node-7dv74 failed to pull container image for: flexvol-driver",
        "PodsCannotPull: calico-system/calico-node: flexvol-driver",
        "see `ImagePullFailing`",
    ),
    (
        "ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image: not found",
        "PullNotFound",
        "compare it with the tag",
    ),
    ("ImagePullBackOff ... failed to authorize: 401 Unauthorized", "PullUnauthorized", "imagePullSecrets"),
    (
        "Failed to pull image: no match for platform in manifest: not found",
        "PullPlatformMissing",
        "mirror the whole index",
    ),
    ("ErrImagePull toomanyrequests: You have reached your pull rate limit", "PullRateLimited", "pull with credentials"),
    ("exec /usr/bin/calico-node: exec format error", "ExecFormatError", "pin the index"),
    ("Error querying IP pools: no matches for kind IPPool", "ComponentKindsMissing", "TigeraStatus `apiserver`"),
    ("Error querying IP pools of tomorrow", "ComponentDegraded", "only where a pod cannot pull"),
];

#[test]
fn what_people_paste_is_told_with_its_cause_and_what_helps() {
    for (message, reason, helps) in MESSAGES {
        let (code, stdout, stderr) = outcome(&run(&["explain", message]));
        let about_images = reason != "ComponentDegraded";
        assert_eq!((code, stderr.as_str()), (i32::from(!about_images), ""), "{message}");
        assert_contains(&stdout, &[reason, "because  ", "do       ", helps]);
        let (_, json, _) = outcome(&run(&["explain", message, "-o", "json"]));
        let found: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(found[0]["reason"], reason.split(':').next().unwrap());
    }
}

/// Of an object, as kubectl prints it.
fn status(name: &str, degraded: &str, reason: &str, message: &str) -> Value {
    let condition = |kind: &str, status: &str, message: &str| json!({ "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 2 });
    json!({
        "apiVersion": "operator.tigera.io/v1", "kind": "TigeraStatus", "metadata": { "name": name }, "spec": {},
        "status": { "conditions": [
            // What is over, or was never so, is no cause.
            condition("Available", "False", "ImageSet did not contain image calico/typha"),
            condition("Degraded", degraded, message),
        ] },
    })
}

fn explained(input: &str, more: &[&str]) -> (i32, String, String) {
    let mut command = command(&[&["explain", "-"], more].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    outcome(&child.wait_with_output().unwrap())
}

#[test]
fn of_a_tigerastatus_only_what_degraded_says_is_explained() {
    let healthy = status("calico", "False", "AllObjectsAvailable", "All objects available");
    let lacks = status("calico", "True", "ResourceUpdateError", "ImageSet did not contain image calico/csi");
    // Up to v1.25 the text was the reason.
    let old =
        status("apiserver", "True", "ImageSet v: unexpected images: tigera/operator", "Error validating ImageSet");
    let pools = status("ippools", "True", "ResourceReadError", "Error querying IP pools");
    let young = json!({ "kind": "TigeraStatus", "metadata": { "name": "whisker" }, "spec": {} });
    let list = |items: &[&Value]| json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let printed = |value: &Value| {
        [imageset_controller::yaml::to_string(value).unwrap(), serde_json::to_string_pretty(value).unwrap()]
    };

    for input in printed(&healthy) {
        assert_eq!(explained(&input, &[]), (0, "TigeraStatus calico: not degraded\n".to_owned(), String::new()));
    }
    let none = "TigeraStatus calico: not degraded\nTigeraStatus whisker: not degraded\n";
    for input in printed(&list(&[&healthy, &young])) {
        assert_eq!(explained(&input, &[]), (0, none.to_owned(), String::new()));
        assert_eq!(explained(&input, &["-o", "json"]).1, "[]\n");
    }
    for input in printed(&list(&[&healthy, &lacks, &old])) {
        let (code, stdout, stderr) = explained(&input, &[]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let parts = [
            "TigeraStatus calico: ImagesNotListed: calico/csi\n",
            "TigeraStatus apiserver: UnexpectedImages: tigera/operator\n",
        ];
        assert_contains(&stdout, &parts);
        assert!(!stdout.contains("typha") && !stdout.contains("not degraded"), "{stdout}");
        let found: Value = serde_json::from_str(&explained(&input, &["-o", "json"]).1).unwrap();
        assert_eq!(
            (&found[0]["object"], &found[1]["reason"]),
            (&json!("TigeraStatus calico"), &json!("UnexpectedImages"))
        );
    }
    let (code, stdout, _) = explained(&printed(&pools)[0], &[]);
    assert_eq!(code, 1, "{stdout}");
    assert_contains(&stdout, &["TigeraStatus ippools: ComponentDegraded\n"]);

    // Nothing to explain is no answer.
    for input in ["", " \n", "apiVersion: v1\nitems: []\nkind: List\n"] {
        let (code, stdout, stderr) = explained(input, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert_contains(&stderr, &["error: ", "is empty", "hint: ", "kubectl get tigerastatus"]);
    }
    assert_eq!(outcome(&run(&["explain", ""])).0, 2);
}

/// Every file of `tests/cases/explain` is a text as people have it: first the exit code and what is found, worst first, then `---`, then the
/// text. A new case is a new file.
#[test]
fn every_case_from_the_field_is_understood_as_its_file_says() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/explain");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 40, "only {} cases", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let case = std::fs::read_to_string(&file).unwrap();
        let (expected, text) = case.split_once("\n---\n").unwrap();
        let (code, stdout, stderr) = explained(text, &[]);
        let found = stdout.lines().filter(|line| !line.is_empty() && !line.starts_with("  "));
        let found = [format!("exit {code}")].into_iter().chain(found.map(str::to_owned)).collect::<Vec<_>>().join("\n");
        if found != expected || !stderr.is_empty() {
            wrong.push(format!("{}:\n{found}\n{stderr}instead of\n{expected}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn without_a_message_all_are_listed_as_on_the_page() {
    let (code, stdout, _) = outcome(&run(&["explain"]));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/messages.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `") || line.starts_with("| anything"));
    let mut count = 0;
    for row in rows {
        count += 1;
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_contains(&stdout, &[cells[0], cells[1], cells[2]]);
    }
    assert_eq!((code, count), (0, 36));
}

#[test]
fn the_version_says_which_operators_are_known() {
    let (code, stdout, _) = outcome(&run(&["version"]));
    assert_eq!(code, 0);
    let catalogue = imageset_controller::catalogue::Catalogue::embedded();
    let (known, newest) = (catalogue.releases().len(), catalogue.newest().unwrap().to_string());
    assert_contains(
        &stdout,
        &["imageset-controller v", &format!("knows {known} operator releases, the newest is {newest}")],
    );
    let json: Value = serde_json::from_str(&outcome(&run(&["version", "-o", "json"])).1).unwrap();
    assert_eq!(json["newestOperator"], newest);
}
