//! Objects of YAML documents, and how two of them differ.

use std::collections::BTreeMap;

use serde_json::Value;

/// By kind, namespace and name.
pub type Objects = BTreeMap<String, Value>;

/// All documents that are not empty.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = imageset_controller::yaml::documents(yaml).unwrap();
    documents.into_iter().map(with_plain_numbers).collect()
}

/// 10.0 is 10: kustomize writes it so.
fn with_plain_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(values) => values.into_iter().map(with_plain_numbers).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, with_plain_numbers(value))).collect(),
        other => other,
    }
}

/// `Kind namespace/name`, or `Kind name`.
pub fn key(object: &Value) -> String {
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (kind, name) = (word("/kind").unwrap(), word("/metadata/name").unwrap());
    word("/metadata/namespace")
        .map_or_else(|| format!("{kind} {name}"), |namespace| format!("{kind} {namespace}/{name}"))
}

pub fn objects(yaml: &str) -> Objects {
    let mut objects = Objects::new();
    for object in documents(yaml) {
        let key = key(&object);
        assert!(objects.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    assert!(!objects.is_empty(), "there is no object");
    objects
}

/// Every place where they differ, with both values.
pub fn differences(one: &Objects, other: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
        compare(key, one.get(key), other.get(key), &mut found);
    }
    found
}

fn compare(path: &str, one: Option<&Value>, other: Option<&Value>, found: &mut Vec<String>) {
    match (one, other) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for name in one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))) {
                compare(&format!("{path}.{name}"), one.get(name), other.get(name), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for index in 0..one.len().max(other.len()) {
                compare(&format!("{path}[{index}]"), one.get(index), other.get(index), found);
            }
        }
        _ if one == other => {}
        _ => {
            let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            found.push(format!("{path}: {} and {}", shown(one), shown(other)));
        }
    }
}

#[test]
fn differences_are_listed_by_field() {
    let one =
        objects("{kind: A, metadata: {name: x}, spec: {list: [1, 2], same: 1}}\n---\n{kind: B, metadata: {name: y}}");
    let other = objects("---\n{kind: A, metadata: {name: x}, spec: {list: [1, 3], same: 1.0, more: true}}");
    assert_eq!(
        differences(&one, &other),
        [
            "A x.spec.list[1]: 2 and 3",
            "A x.spec.more: nothing and true",
            r#"B y: {"kind":"B","metadata":{"name":"y"}} and nothing"#
        ]
    );
    assert!(differences(&one, &one).is_empty());
}
