//! The chart's values: what each does, and that the schema refuses what none is.

use std::fs;

use serde_json::{Value, json};

use super::objects::{Objects, documents, objects};
use super::text;
use super::tools::{CHART, helm, template};

const POD_SECURITY: &str = "/metadata/labels/pod-security.kubernetes.io~1enforce";

/// Flag, object, place in it, and what is there.
const DOES: &[(&str, &str, &str, &str)] = &[
    ("image.registry=r.example:5000/", "Deployment", "/image", r#""r.example:5000/imageset-controller:v0.1.0""#),
    ("image.repository=mirror/isc", "Deployment", "/image", r#""mirror/isc:v0.1.0""#),
    ("image.tag=v9", "Deployment", "/image", r#""imageset-controller:v9""#),
    ("image.pullPolicy=Always", "Deployment", "/imagePullPolicy", r#""Always""#),
    ("imagePullSecrets=[{\"name\":\"a\"}]", "Deployment", "/imagePullSecrets", r#"[{"name":"a"}]"#),
    ("operatorNamespace=op", "Role op/imageset-controller", "/metadata/namespace", r#""op""#),
    ("operatorNamespace=op", "RoleBinding op/imageset-controller", "/metadata/namespace", r#""op""#),
    ("pullSecrets=[\"a\",\"b\"]", "Role tigera-operator/imageset-controller", "/rules/3/resourceNames", r#"["a","b"]"#),
    ("pullSecrets=[]", "Role tigera-operator/imageset-controller", "/rules/3", "null"),
    ("inspection.namespace=asked", "Role asked/imageset-controller", "/rules/0/resources", r#"["jobs"]"#),
    (
        "inspection.namespace=asked",
        "ServiceAccount asked/imageset-inspection",
        "/automountServiceAccountToken",
        "false",
    ),
    ("replicas=3", "Deployment", "/replicas", "3"),
    ("hostNetwork=true,hostNetworkPort=9999", "Deployment", "/args", r#"["run","--listen=[::]:9999"]"#),
    ("hostNetwork=true,hostNetworkPort=9999", "Deployment", "/ports/0/containerPort", "9999"),
    ("hostNetworkPort=9999", "Deployment", "/ports/0/containerPort", "8080"),
    ("hostNetwork=true", "Namespace imageset-inspection", POD_SECURITY, r#""restricted""#),
    ("inspection.hostNetwork=true", "Namespace imageset-inspection", POD_SECURITY, r#""privileged""#),
    ("runAsUser=1000680000", "Deployment", "/securityContext/runAsUser", "1000680000"),
    ("runAsUser=null", "Deployment", "/securityContext/runAsUser", "null"),
    ("runAsGroup=null", "Deployment", "/securityContext/runAsGroup", "null"),
    ("runAsUser=null,runAsGroup=null", "Deployment", "/securityContext/runAsNonRoot", "true"),
    (
        "networkPolicy.egressPorts=[3128]",
        "NetworkPolicy",
        "/spec/egress/1/ports",
        r#"[{"port":3128,"protocol":"TCP"}]"#,
    ),
    (
        "networkPolicy.cloudEndpoints=[{\"cidr\":\"169.254.170.23/32\",\"port\":80}]",
        "NetworkPolicy",
        "/spec/egress/2",
        r#"{"ports":[{"port":80,"protocol":"TCP"}],"to":[{"ipBlock":{"cidr":"169.254.170.23/32"}}]}"#,
    ),
    (
        "serviceAccount.annotations={\"eks.amazonaws.com/role-arn\":\"arn:aws:iam::111122223333:role/isc\"}",
        "ServiceAccount imageset-controller/imageset-controller",
        "/metadata/annotations",
        r#"{"eks.amazonaws.com/role-arn":"arn:aws:iam::111122223333:role/isc"}"#,
    ),
    (
        "podLabels={\"azure.workload.identity/use\":\"true\"}",
        "Deployment",
        "/template/metadata/labels",
        r#"{"app.kubernetes.io/name":"imageset-controller","azure.workload.identity/use":"true"}"#,
    ),
    ("extraVolumes=[{\"name\":\"t\",\"emptyDir\":{}}]", "Deployment", "/volumes", r#"[{"emptyDir":{},"name":"t"}]"#),
    (
        "extraVolumeMounts=[{\"name\":\"t\",\"mountPath\":\"/t\"}]",
        "Deployment",
        "/volumeMounts",
        r#"[{"mountPath":"/t","name":"t"}]"#,
    ),
    ("networkPolicy.except=[]", "NetworkPolicy", "/spec/egress/1/to/0/ipBlock", r#"{"cidr":"0.0.0.0/0"}"#),
    ("networkPolicy.exceptIPv6=[]", "NetworkPolicy", "/spec/egress/1/to/1/ipBlock", r#"{"cidr":"::/0"}"#),
    ("priorityClassName=high", "Deployment", "/priorityClassName", r#""high""#),
    ("priorityClassName=", "Deployment", "/priorityClassName", "null"),
    ("resources.limits.memory=1Gi", "Deployment", "/resources/limits", r#"{"cpu":"1","memory":"1Gi"}"#),
    ("nodeSelector.a=b", "Deployment", "/nodeSelector", r#"{"a":"b","kubernetes.io/os":"linux"}"#),
    ("tolerations=[]", "Deployment", "/tolerations", "null"),
    ("affinity={\"nodeAffinity\":{}},replicas=2", "Deployment", "/affinity", r#"{"nodeAffinity":{}}"#),
    ("extraArgs=[\"--log-format=json\"]", "Deployment", "/args", r#"["run","--log-format=json"]"#),
    ("extraEnv=[{\"name\":\"A\",\"value\":\"1\"}]", "Deployment", "/env/2", r#"{"name":"A","value":"1"}"#),
    (
        "monitoring.serviceMonitor={\"enabled\":true,\"labels\":{\"a\":\"b\"}}",
        "ServiceMonitor",
        "/metadata/labels/a",
        r#""b""#,
    ),
    (
        "monitoring.serviceMonitor={\"enabled\":true,\"interval\":\"5s\"}",
        "ServiceMonitor",
        "/spec/endpoints/0/interval",
        r#""5s""#,
    ),
    (
        "monitoring.prometheusRule={\"enabled\":true,\"labels\":{\"a\":\"b\"}}",
        "PrometheusRule",
        "/metadata/labels/a",
        r#""b""#,
    ),
    ("policy={\"mode\":\"Apply\"}", "ImageSetPolicy default", "/spec", r#"{"mode":"Apply"}"#),
    (
        "secrets=[{\"namespace\":\"n\",\"names\":[\"a\"]}]",
        "Role n/imageset-controller-secrets",
        "/rules/0/resourceNames",
        r#"["a"]"#,
    ),
    (
        "configMaps=[{\"namespace\":\"n\",\"names\":[\"a\"]}]",
        "RoleBinding n/imageset-controller-configmaps",
        "/roleRef/name",
        r#""imageset-controller-configmaps""#,
    ),
];

/// Flag and what is no longer there.
const LEAVES_OUT: [(&str, &str); 6] = [
    ("inspection.enabled=false", "imageset-inspection"),
    ("networkPolicy.enabled=false", "NetworkPolicy imageset-controller/"),
    ("replicas=2,podDisruptionBudget.enabled=false", "PodDisruptionBudget"),
    ("replicas=1", "PodDisruptionBudget"),
    ("priorityClassName=high", "ResourceQuota"),
    ("policy={}", "ImageSetPolicy default"),
];

/// Flag and what is said of it.
const REFUSED: [(&str, &str); 21] = [
    ("replica=2", "additional properties 'replica' not allowed"),
    ("replicas=-1", "/replicas"),
    ("replicas=two", "/replicas"),
    ("image.digest=sha256:abc", "/image/digest"),
    ("image.tag=a:b", "/image/tag"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("operatorNamespace=", "/operatorNamespace"),
    ("pullSecrets=[\"\"]", "/pullSecrets/0"),
    ("pullSecrets=[\"*\"]", "/pullSecrets/0"),
    ("secrets=[{\"namespace\":\"a\",\"names\":[]}]", "/secrets/0/names"),
    ("secrets=[{\"namespace\":\"a\"}]", "missing property 'names'"),
    (
        "secrets=[{\"namespace\":\"a\",\"names\":[\"b\"]},{\"namespace\":\"a\",\"names\":[\"c\"]}]",
        "name the namespace a once",
    ),
    ("hostNetwork=yes", "/hostNetwork"),
    ("inspection.hostNetwork=yes", "/inspection/hostNetwork"),
    ("runAsUser=0", "/runAsUser"),
    ("networkPolicy.egressPorts=[]", "/networkPolicy/egressPorts"),
    ("networkPolicy.cloudEndpoints=[{\"cidr\":\"169.254.170.23/32\"}]", "missing property 'port'"),
    ("podLabels={\"app.kubernetes.io/name\":\"x\"}", "invalid propertyName 'app.kubernetes.io/name'"),
    ("extraArgs=[\"run\"]", "/extraArgs/0"),
    ("operatorNamespace=imageset-controller", "must be different"),
    ("inspection.namespace=tigera-operator", "must be different"),
];

/// As JSON where there is JSON, as Helm's own notation otherwise.
fn flag(values: &str) -> String {
    if values.contains(['[', '{']) {
        // One JSON value, and perhaps a plain one behind it, which is JSON as well.
        format!("--set-json={values}")
    } else {
        format!("--set={values}")
    }
}

fn find<'a>(objects: &'a Objects, wanted: &str) -> &'a Value {
    let wanted = match wanted {
        "Deployment" | "NetworkPolicy" | "ServiceMonitor" | "PrometheusRule" => {
            format!("{wanted} imageset-controller/imageset-controller")
        }
        key => key.to_owned(),
    };
    objects.get(&wanted).unwrap_or_else(|| panic!("no {wanted} in {:?}", objects.keys()))
}

/// The place in the object, or in a Deployment's spec, pod or container.
fn at<'a>(object: &'a Value, place: &str) -> &'a Value {
    let fronts = ["", "/spec", "/spec/template/spec", "/spec/template/spec/containers/0"];
    let fronts = if object["kind"] == "Deployment" { &fronts[..] } else { &fronts[..1] };
    fronts.iter().find_map(|front| object.pointer(&format!("{front}{place}"))).unwrap_or(&Value::Null)
}

#[test]
fn every_value_does_what_it_says() {
    for (values, object, place, wanted) in DOES {
        let objects = objects(&helm(&[&flag(values)]));
        let wanted: Value =
            serde_json::from_str(&wanted.replace("v0.1.0", concat!("v", env!("CARGO_PKG_VERSION")))).unwrap();
        assert_eq!(at(find(&objects, object), place), &wanted, "{values}: {place} of {object}");
    }
    let digest = format!("sha256:{}", "a1".repeat(32));
    let objects = objects(&helm(&[&format!("--set=image.digest={digest}")]));
    let image = at(find(&objects, "Deployment"), "/image").as_str().unwrap();
    assert_eq!(image, format!("imageset-controller:v{}@{digest}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_switched_off_is_not_there() {
    let with = "--set=replicas=2,policy.mode=Observe";
    let all = objects(&helm(&[with]));
    for (values, gone) in LEAVES_OUT {
        assert!(all.keys().any(|key| key.contains(gone)), "{gone} is not even there with {with}");
        let objects = objects(&helm(&[&flag(values)]));
        let left: Vec<&String> = objects.keys().filter(|key| key.contains(gone)).collect();
        assert!(left.is_empty(), "{values}: {left:?}");
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for (values, message) in REFUSED {
        let output = template(&[&flag(values)]);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && printed.contains(message), "{values}: {printed}");
    }
}

/// Every folder of the values, with a word in it that nobody knows.
fn misspelt(schema: &Value, path: &str, places: &mut Vec<String>) -> Value {
    let mut values = json!({});
    let is_strict = schema["additionalProperties"] == json!(false);
    if is_strict {
        values["tpyo"] = json!(1);
        places.push(path.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if property["properties"].is_object() {
            values[name] = misspelt(property, &format!("{path}/{name}"), places);
        }
    }
    values
}

#[test]
fn a_typo_is_refused_wherever_it_is() {
    let schema: Value = serde_json::from_str(&text(&format!("{CHART}/values.schema.json"))).unwrap();
    let mut places = Vec::new();
    let values = misspelt(&schema, "", &mut places);
    assert!(places.len() > 9, "{places:?}");
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), values.to_string()).unwrap();
    let output = template(&[&format!("--values={}", file.path().display())]);
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for place in places {
        assert!(
            printed.contains(&format!("at '{place}': additional properties 'tpyo' not allowed")),
            "{place}: {printed}"
        );
    }
}

/// What may hold anything, because the API server or Helm validates it.
const OPEN: [&str; 9] = [
    "/affinity/nodeAffinity",
    "/affinity/podAffinity",
    "/affinity/podAntiAffinity",
    "/extraEnv/items/valueFrom",
    "/extraVolumeMounts/items",
    "/extraVolumes/items",
    "/global",
    "/policy",
    "/topologySpreadConstraints/items",
];

/// The objects in a schema that say nothing of further names.
fn open(schema: &Value, path: &str, found: &mut Vec<String>) {
    if schema["type"] == "object" && schema.get("additionalProperties").is_none() {
        found.push(path.to_owned());
    }
    for part in ["properties", "definitions"] {
        for (name, property) in schema[part].as_object().into_iter().flatten() {
            open(property, &format!("{path}/{name}"), found);
        }
    }
    if let Some(items) = schema.get("items") {
        open(items, &format!("{path}/items"), found);
    }
}

#[test]
fn the_schema_is_closed() {
    let schema: Value = serde_json::from_str(&text(&format!("{CHART}/values.schema.json"))).unwrap();
    let mut found = Vec::new();
    open(&schema, "", &mut found);
    found.sort();
    assert_eq!(found, OPEN);
}

#[test]
fn values_and_schema_have_the_same_names() {
    fn names(path: &str, values: &Value, schema: &Value, wrong: &mut Vec<String>) {
        let (Some(values), Some(known)) = (values.as_object(), schema["properties"].as_object()) else { return };
        for (name, value) in values {
            match known.get(name) {
                None => wrong.push(format!("{path}/{name} is not in the schema")),
                Some(property) if property["type"] == "object" => {
                    let path = format!("{path}/{name}");
                    // The parts of an affinity and of resources are the API's own, and not all of them are used.
                    if !["/affinity", "/resources"].contains(&path.as_str()) {
                        names(&path, value, property, wrong);
                    }
                }
                Some(_) => {}
            }
        }
        let missing = known.keys().filter(|name| *name != "global" && !values.contains_key(*name));
        wrong.extend(missing.map(|name| format!("{path}/{name} is not in values.yaml")));
    }
    let values = documents(&text(&format!("{CHART}/values.yaml"))).remove(0);
    let schema: Value = serde_json::from_str(&text(&format!("{CHART}/values.schema.json"))).unwrap();
    let mut wrong = Vec::new();
    names("", &values, &schema, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
