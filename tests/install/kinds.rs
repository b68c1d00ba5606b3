//! What the kinds look like, as JSON schemas for kubeconform: Kubernetes' own from the API server's description of itself, the
//! others from their definitions. Fields that a kind does not have are forbidden, as the API server does for `kubectl apply`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::objects::documents;
use super::text;
use super::tools::folder;

/// Where kubeconform finds the schema of a kind in a folder.
pub const LOCATION: &str = "{{.Group}}-{{.ResourceKind}}-{{.ResourceAPIVersion}}.json";

/// Writes one file for each kind of these objects; a kind that nothing describes gets none, and kubeconform says so.
pub fn write(folder: &Path, objects: &[Value]) {
    let kubernetes: Value = serde_json::from_str(&read("kubernetes.json")).unwrap();
    let kubernetes = kubernetes["definitions"].as_object().unwrap();
    let defined: Vec<Value> = ["servicemonitors.yaml", "prometheusrules.yaml"]
        .iter()
        .map(|name| read(name))
        .chain([text("crds/imageset-controller.io_imagesetpolicies.yaml")])
        .flat_map(|definition| documents(&definition))
        .collect();
    for object in objects {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let (group, short) = version.split_once('/').unwrap_or(("", version));
        let Some(schema) = built_in(kubernetes, group, short, kind).or_else(|| custom(&defined, group, short, kind))
        else {
            continue;
        };
        // As kubeconform has it, the version is the group of those without one.
        let group = if group.is_empty() { version } else { group };
        let name = format!("{group}-{}-{short}.json", kind.to_lowercase());
        fs::write(folder.join(name), schema.to_string()).unwrap();
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join("kinds").join(name)).unwrap()
}

/// A kind of Kubernetes, with all that it is made of.
fn built_in(definitions: &Map<String, Value>, group: &str, version: &str, kind: &str) -> Option<Value> {
    let named = json!({ "group": group, "version": version, "kind": kind });
    let is_wanted = |definition: &Value| {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.len() == 1 && kinds[0] == named)
    };
    let (start, _) = definitions.iter().find(|(_, definition)| is_wanted(definition))?;
    let mut needed: BTreeMap<&str, Value> = BTreeMap::new();
    let mut open = vec![start.as_str()];
    while let Some(name) = open.pop() {
        if needed.contains_key(name) {
            continue;
        }
        let (known, definition) = definitions.get_key_value(name).unwrap();
        references(definition, &mut open);
        let strict = match known.rsplit('.').next() {
            Some("Quantity") => json!({ "type": ["string", "number"] }),
            Some("IntOrString") => json!({ "type": ["string", "integer"] }),
            _ => strict(definition),
        };
        needed.insert(known, strict);
    }
    Some(json!({ "$ref": format!("#/definitions/{start}"), "definitions": needed }))
}

fn references<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            found.extend(reference.map(|reference| reference.rsplit('/').next().unwrap()));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// A custom kind.
fn custom(definitions: &[Value], group: &str, version: &str, kind: &str) -> Option<Value> {
    let is_wanted = |one: &&Value| one["spec"]["group"] == group && one["spec"]["names"]["kind"] == kind;
    let versions = definitions.iter().find(is_wanted)?["spec"]["versions"].as_array()?;
    let mut schema = strict(&versions.iter().find(|one| one["name"] == version)?["schema"]["openAPIV3Schema"]);
    for (name, of_type) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        schema["properties"][name] = json!({ "type": of_type });
    }
    Some(schema)
}

/// No fields but those that are named, and null only where that is allowed.
fn strict(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut made: Map<String, Value> = Map::new();
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.iter().map(|(name, property)| (name.clone(), strict(property))).collect()
            }
            ("items" | "additionalProperties" | "not", value) => strict(value),
            ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => all.iter().map(strict).collect(),
            (_, value) => value.clone(),
        };
        made.insert(name.clone(), value);
    }
    let is_open =
        ["additionalProperties", "x-kubernetes-preserve-unknown-fields"].iter().any(|one| made.contains_key(*one));
    if made.contains_key("properties") && made.contains_key("type") && !is_open {
        made.insert("additionalProperties".to_owned(), json!(false));
    }
    if let Some(kind) = made.get("type").filter(|_| made.get("nullable") == Some(&json!(true))).cloned() {
        made.insert("type".to_owned(), json!([kind, "null"]));
    }
    // The pattern of numbers that may be written as text, where a definition has both.
    if made.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        made.remove("type");
    }
    Value::Object(made)
}
