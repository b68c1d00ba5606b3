//! What kube-linter and a security reviewer look for, in every object that can be installed.

use serde_json::{Value, json};

use super::objects::{Objects, key, objects};
use super::tools::{OPENED, everything};

fn word<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn of_kind<'a>(objects: &'a Objects, kinds: &[&str]) -> Vec<&'a Value> {
    objects.values().filter(|object| kinds.contains(&word(object, "/kind"))).collect()
}

/// What is wrong with all of them, each with the object in front.
fn problems(objects: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    for workload in of_kind(objects, &["Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob", "Pod"]) {
        let mut of_pod = Vec::new();
        let pod = match word(workload, "/kind") {
            "Pod" => &workload["spec"],
            "CronJob" => &workload["spec"]["jobTemplate"]["spec"]["template"]["spec"],
            _ => &workload["spec"]["template"]["spec"],
        };
        pod_problems(pod, &mut of_pod);
        network_problems(workload, pod, objects, &mut of_pod);
        replica_problems(workload, pod, objects, &mut of_pod);
        found.extend(of_pod.into_iter().map(|problem| format!("{}: {problem}", key(workload))));
    }
    for account in of_kind(objects, &["ServiceAccount"]) {
        if account["automountServiceAccountToken"] != json!(false) {
            found.push(format!("{}: its token is mounted everywhere", key(account)));
        }
    }
    for role in of_kind(objects, &["Role", "ClusterRole"]) {
        for rule in list(role, "/rules") {
            found.extend(rule_problem(role, rule).map(|problem| format!("{}: {problem}: {rule}", key(role))));
        }
    }
    found.extend(binding_problems(objects));
    found.extend(selector_problems(objects));
    found.extend(namespace_problems(objects));
    found
}

fn pod_problems(pod: &Value, found: &mut Vec<String>) {
    let mut wants = |right: bool, problem: &str| {
        if !right {
            found.push(problem.to_owned());
        }
    };
    let user = pod.pointer("/securityContext/runAsUser").and_then(Value::as_u64);
    wants(pod.pointer("/securityContext/runAsNonRoot") == Some(&json!(true)), "may run as root");
    wants(user.is_some_and(|user| user >= 10_000), "has no user of its own");
    wants(word(pod, "/securityContext/seccompProfile/type") == "RuntimeDefault", "has no seccomp profile");
    wants(!["", "default"].contains(&word(pod, "/serviceAccountName")), "runs as the account default");
    wants(pod["hostPID"] != json!(true) && pod["hostIPC"] != json!(true), "sees the node's processes");
    wants(list(pod, "/volumes").iter().all(|volume| volume.get("hostPath").is_none()), "mounts a path of the node");
    let containers = [list(pod, "/initContainers"), list(pod, "/containers")].concat();
    wants(!containers.is_empty(), "has no container");
    for container in &containers {
        let image = word(container, "/image");
        let tag = image.rsplit('/').next().and_then(|name| name.split_once(':'));
        wants(tag.is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest"), "has an image without a fixed tag");
        for amount in ["requests/cpu", "requests/memory", "limits/cpu", "limits/memory"] {
            let there = container.pointer(&format!("/resources/{amount}")).is_some();
            wants(there, &format!("has no {}", amount.replace('/', ".")));
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            wants(!word(container, &format!("/{probe}/httpGet/path")).is_empty(), &format!("has no {probe}"));
        }
        let security = &container["securityContext"];
        wants(security["readOnlyRootFilesystem"] == json!(true), "writes to its root");
        wants(security["allowPrivilegeEscalation"] == json!(false), "may get more privileges");
        wants(security.get("privileged").is_none_or(|one| one == &json!(false)), "is privileged");
        wants(security.pointer("/capabilities/drop") == Some(&json!(["ALL"])), "keeps capabilities");
        wants(list(security, "/capabilities/add").is_empty(), "has capabilities");
        // The whole reference belongs to who applies it: what the API server adds to it would be a conflict for the next one.
        let of_pod =
            |variable: &Value| variable.pointer("/valueFrom/fieldRef").is_some_and(|one| one["apiVersion"] != "v1");
        wants(!list(container, "/env").iter().any(of_pod), "has a fieldRef without its version");
        let secret = |variable: &Value| variable.pointer("/valueFrom/secretKeyRef").is_some();
        wants(!list(container, "/env").iter().any(secret), "has a secret in a variable");
    }
}

fn network_problems(workload: &Value, pod: &Value, objects: &Objects, found: &mut Vec<String>) {
    let namespace = word(workload, "/metadata/namespace");
    let selects = |policy: &&Value| {
        word(policy, "/metadata/namespace") == namespace && matches(policy, "/spec/podSelector/matchLabels", workload)
    };
    let policies: Vec<&Value> = of_kind(objects, &["NetworkPolicy"]).into_iter().filter(selects).collect();
    if pod["hostNetwork"] == json!(true) {
        if !policies.is_empty() {
            found.push("has a NetworkPolicy that does nothing in the node's network".to_owned());
        }
    } else {
        for way in ["Ingress", "Egress"] {
            if !policies.iter().any(|policy| list(policy, "/spec/policyTypes").contains(&json!(way))) {
                found.push(format!("has no NetworkPolicy for {way}"));
            }
        }
        let containers = list(pod, "/containers").iter();
        let mut ports = containers.flat_map(|container| list(container, "/ports"));
        if ports.any(|port| port.get("hostPort").is_some()) {
            found.push("has a port of the node".to_owned());
        }
    }
}

fn replica_problems(workload: &Value, pod: &Value, objects: &Objects, found: &mut Vec<String>) {
    let replicas = workload.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let budgets = of_kind(objects, &["PodDisruptionBudget"]);
    if replicas > 1 {
        if pod.pointer("/affinity/podAntiAffinity").is_none() || list(pod, "/topologySpreadConstraints").is_empty() {
            found.push("may have all its pods in one place".to_owned());
        }
        if !budgets.iter().any(|budget| matches(budget, "/spec/selector/matchLabels", workload)) {
            found.push("may lose all its pods at once".to_owned());
        }
    } else if !budgets.is_empty() {
        found.push("has one pod, which a PodDisruptionBudget keeps from being moved".to_owned());
    }
}

/// Whether the labels that something selects by are those of a workload's pods.
fn matches(selecting: &Value, pointer: &str, workload: &Value) -> bool {
    let wanted = selecting.pointer(pointer).and_then(Value::as_object);
    let labels = workload.pointer("/spec/template/metadata/labels");
    wanted.is_none_or(|wanted| wanted.iter().all(|(name, value)| labels.and_then(|all| all.get(name)) == Some(value)))
}

fn rule_has(rule: &Value, field: &str, words: &[&str]) -> bool {
    list(rule, &format!("/{field}")).iter().any(|one| words.contains(&one.as_str().unwrap_or_default()))
}

const WRITES: [&str; 3] = ["create", "update", "patch"];

/// Whether pods come of what it allows to write.
fn starts_pods(rule: &Value) -> bool {
    let starters = ["pods", "jobs", "cronjobs", "deployments", "daemonsets", "statefulsets", "replicasets"];
    rule_has(rule, "resources", &starters) && rule_has(rule, "verbs", &WRITES)
}

/// No rule with a wildcard, none for Secrets at large, and none that allows impersonation.
fn rule_problem(role: &Value, rule: &Value) -> Option<&'static str> {
    let has = |field: &str, words: &[&str]| rule_has(rule, field, words);
    let parts = ["apiGroups", "resources", "verbs", "resourceNames"];
    let writes = has("verbs", &WRITES);
    if parts.iter().any(|part| has(part, &["*"]))
        || list(rule, "/resources").iter().any(|one| one.to_string().contains("/*"))
    {
        return Some("a wildcard");
    }
    if has("resources", &["secrets"])
        && (list(rule, "/resourceNames").is_empty() || list(rule, "/verbs") != [json!("get")])
    {
        return Some("Secrets without names");
    }
    if rule.get("resourceNames").is_some() && list(rule, "/resourceNames").is_empty() {
        return Some("no name is every name");
    }
    let escalates = has("verbs", &["escalate", "bind", "impersonate"]);
    if escalates || has("resources", &["pods/exec", "pods/attach", "serviceaccounts/token", "nodes/proxy"]) {
        return Some("a way to the rights of others");
    }
    if starts_pods(rule) && word(role, "/metadata/namespace") != "imageset-inspection" {
        return Some("a right to start pods under other accounts");
    }
    (has("resources", &["roles", "clusterroles", "rolebindings", "clusterrolebindings"]) && writes)
        .then_some("a right to give rights")
}

/// Every binding is of a role that is there and to the controller's account alone.
fn binding_problems(objects: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    for binding in of_kind(objects, &["RoleBinding", "ClusterRoleBinding"]) {
        let (kind, name) = (word(binding, "/roleRef/kind"), word(binding, "/roleRef/name"));
        let role = match kind {
            "Role" => format!("Role {}/{name}", word(binding, "/metadata/namespace")),
            _ => format!("{kind} {name}"),
        };
        if !objects.contains_key(&role) {
            found.push(format!("{}: there is no {role}", key(binding)));
        }
        for subject in list(binding, "/subjects") {
            let account = format!("ServiceAccount {}/{}", word(subject, "/namespace"), word(subject, "/name"));
            if account != "ServiceAccount imageset-controller/imageset-controller" || !objects.contains_key(&account) {
                found.push(format!("{}: gives rights to {account}", key(binding)));
            }
        }
    }
    found
}

/// What selects pods selects some, and targets ports that they have.
fn selector_problems(objects: &Objects) -> Vec<String> {
    let workloads = of_kind(objects, &["Deployment"]);
    let mut found = Vec::new();
    for selecting in of_kind(objects, &["Service", "PodDisruptionBudget", "Deployment"]) {
        let pointer = if selecting["kind"] == "Service" { "/spec/selector" } else { "/spec/selector/matchLabels" };
        if !workloads.iter().any(|workload| matches(selecting, pointer, workload)) {
            found.push(format!("{}: selects no pod", key(selecting)));
        }
    }
    let ports: Vec<&str> = workloads
        .iter()
        .flat_map(|workload| list(workload, "/spec/template/spec/containers/0/ports"))
        .map(|port| word(port, "/name"))
        .collect();
    for service in of_kind(objects, &["Service"]) {
        for port in list(service, "/spec/ports") {
            if !ports.contains(&word(port, "/targetPort")) {
                found.push(format!("{}: targets a port that is not there: {port}", key(service)));
            }
        }
    }
    found
}

fn in_node_network(workload: &Value) -> bool {
    workload.pointer("/spec/template/spec/hostNetwork") == Some(&json!(true))
}

/// Pod Security is restricted, and privileged only in the namespace of a pod in the node's network. Who may start pods in such a
/// namespace may start privileged ones.
fn namespace_problems(objects: &Objects) -> Vec<String> {
    let deployments = of_kind(objects, &["Deployment"]);
    let mut found = Vec::new();
    for namespace in of_kind(objects, &["Namespace"]) {
        let name = word(namespace, "/metadata/name");
        let in_it = |object: &&&Value| word(object, "/metadata/namespace") == name;
        let wanted =
            if deployments.iter().filter(in_it).any(|one| in_node_network(one)) { "privileged" } else { "restricted" };
        for mode in ["enforce", "audit", "warn"] {
            let level = word(namespace, &format!("/metadata/labels/pod-security.kubernetes.io~1{mode}"));
            if level != wanted {
                found.push(format!("{}: {mode} is {level:?} and not {wanted}", key(namespace)));
            }
        }
        let is_restricted = word(namespace, "/metadata/labels/pod-security.kubernetes.io~1enforce") == "restricted";
        for role in of_kind(objects, &["Role"]).iter().filter(in_it).filter(|_| !is_restricted) {
            if list(role, "/rules").iter().any(starts_pods) {
                found.push(format!("{}: creates jobs where privileged pods are admitted", key(role)));
            }
        }
    }
    found
}

/// What the opt-in costs, and nothing else.
const COST: [&str; 4] = [
    r#"Namespace imageset-inspection: enforce is "privileged" and not restricted"#,
    r#"Namespace imageset-inspection: audit is "privileged" and not restricted"#,
    r#"Namespace imageset-inspection: warn is "privileged" and not restricted"#,
    "Role imageset-inspection/imageset-controller: creates jobs where privileged pods are admitted",
];

#[test]
fn everything_is_as_a_reviewer_wants_it() {
    for (place, yaml) in everything() {
        let accepted: &[&str] = if OPENED.contains(&place.as_str()) { &COST } else { &[] };
        assert_eq!(problems(&objects(yaml)), accepted, "{place}");
    }
    assert!(OPENED.iter().all(|opened| everything().iter().any(|(place, _)| place == opened)));
}

#[test]
fn what_a_reviewer_does_not_want_is_found() {
    let bad = r#"
kind: Deployment
metadata: {namespace: a, name: bad}
spec:
  replicas: 2
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: bad}}
    spec:
      hostPID: true
      volumes: [{name: a, hostPath: {path: /}}]
      containers:
      - name: bad
        image: registry.example.com:5000/bad
        ports: [{name: web, containerPort: 80, hostPort: 80}]
        env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}, {name: B, valueFrom: {fieldRef: {fieldPath: a}}}]
        securityContext: {privileged: true, capabilities: {add: [NET_ADMIN]}}
---
kind: Deployment
metadata: {namespace: a, name: latest}
spec:
  template: {spec: {hostNetwork: true, containers: [{image: "bad:latest"}]}}
---
{kind: NetworkPolicy, metadata: {namespace: a, name: n}, spec: {podSelector: {matchLabels: {}}}}
---
{kind: Service, metadata: {namespace: a, name: s}, spec: {selector: {app: bad}, ports: [{targetPort: http}]}}
---
{kind: ServiceAccount, metadata: {namespace: a, name: a}}
---
kind: ClusterRole
metadata: {name: r}
rules:
- {apiGroups: ["*"], resources: [pods], verbs: [get]}
- {apiGroups: [""], resources: [secrets], verbs: [get]}
- {apiGroups: [""], resources: [secrets], resourceNames: [a], verbs: [get, list]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [], verbs: [get]}
- {apiGroups: [""], resources: [pods/exec], verbs: [get]}
- {apiGroups: [batch], resources: [jobs], verbs: [create]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [patch]}
---
kind: ClusterRoleBinding
metadata: {name: b}
roleRef: {kind: ClusterRole, name: gone}
subjects: [{kind: ServiceAccount, namespace: a, name: a}]
---
{kind: Namespace, metadata: {name: a, labels: {pod-security.kubernetes.io/enforce: restricted}}}
---
{kind: Role, metadata: {namespace: a, name: r}, rules: [{apiGroups: [batch], resources: [jobs], verbs: [create]}]}
---
{kind: Namespace, metadata: {name: other, labels: {pod-security.kubernetes.io/enforce: privileged}}}
---
{kind: Role, metadata: {namespace: other, name: r}, rules: [{apiGroups: [batch], resources: [jobs], verbs: [create]}]}
"#;
    let found = problems(&objects(bad)).join("\n");
    let wanted = [
        "Deployment a/bad: may run as root",
        "Deployment a/bad: has no user of its own",
        "Deployment a/bad: has no seccomp profile",
        "Deployment a/bad: runs as the account default",
        "Deployment a/bad: sees the node's processes",
        "Deployment a/bad: mounts a path of the node",
        "Deployment a/bad: has an image without a fixed tag",
        "Deployment a/latest: has an image without a fixed tag",
        "Deployment a/bad: has no requests.memory",
        "Deployment a/bad: has no limits.cpu",
        "Deployment a/bad: has no startupProbe",
        "Deployment a/bad: has no livenessProbe",
        "Deployment a/bad: has no readinessProbe",
        "Deployment a/bad: writes to its root",
        "Deployment a/bad: may get more privileges",
        "Deployment a/bad: is privileged",
        "Deployment a/bad: keeps capabilities",
        "Deployment a/bad: has capabilities",
        "Deployment a/bad: has a secret in a variable",
        "Deployment a/bad: has a fieldRef without its version",
        "Deployment a/bad: has no NetworkPolicy for Egress",
        "Deployment a/latest: has a NetworkPolicy that does nothing in the node's network",
        "Deployment a/bad: has a port of the node",
        "Deployment a/bad: may have all its pods in one place",
        "Deployment a/bad: may lose all its pods at once",
        "Deployment a/bad: selects no pod",
        "Service a/s: targets a port that is not there",
        "ServiceAccount a/a: its token is mounted everywhere",
        "ClusterRole r: a wildcard",
        r#"ClusterRole r: Secrets without names: {"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}"#,
        r#"ClusterRole r: Secrets without names: {"apiGroups":[""],"resourceNames":["a"]"#,
        "ClusterRole r: no name is every name",
        "ClusterRole r: a way to the rights of others",
        "ClusterRole r: a right to start pods under other accounts",
        "ClusterRole r: a right to give rights",
        "ClusterRoleBinding b: there is no ClusterRole gone",
        "ClusterRoleBinding b: gives rights to ServiceAccount a/a",
        r#"Namespace a: enforce is "restricted" and not privileged"#,
        r#"Namespace other: enforce is "privileged" and not restricted"#,
        "Role other/r: creates jobs where privileged pods are admitted",
    ];
    for problem in wanted {
        assert!(found.contains(problem), "{problem} is not in:\n{found}");
    }
    assert!(!found.contains("Role a/r: creates jobs where"), "that namespace is restricted:\n{found}");
}
