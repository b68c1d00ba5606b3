//! The committed CRD is the one that the types generate, and has no value that YAML readers misread.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::model::{Gate, Mode, OnMissing, TagMoved};

fn schema() -> Value {
    let crd = serde_json::to_value(ImageSetPolicy::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with the path and value of every part of a schema that is an object.
fn walk(path: &str, value: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            visit(path, value);
            for (name, member) in members {
                walk(&format!("{path}/{name}"), member, visit);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{path}/{index}"), item, visit);
            }
        }
        _ => {}
    }
}

#[test]
fn committed_crd_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/imageset-controller.io_imagesetpolicies.yaml");
    let generated = crds_yaml().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is out of date: run UPDATE=1 cargo test --lib api::", path.display());
}

#[test]
fn no_value_is_a_yaml_boolean() {
    let booleans = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    let mut enums = 0;
    walk("", &schema(), &mut |path, part| {
        for value in part.get("enum").and_then(Value::as_array).into_iter().flatten() {
            enums += 1;
            let text = value.as_str().unwrap_or_else(|| panic!("{path}: {value} is no text"));
            assert!(!booleans.contains(&text.to_ascii_lowercase().as_str()), "{path}: {text}");
        }
        assert!(part.get("oneOf").is_none() && part.get("anyOf").is_none(), "{path} is not a plain enum");
    });
    assert!(enums >= 23, "only {enums} values of enums were seen");
}

#[test]
fn every_field_is_described() {
    walk("", &schema(), &mut |path, part| {
        let Some(Value::Object(properties)) = part.get("properties") else { return };
        for (name, property) in properties {
            let ours = !path.contains("conditions/items") && !path.contains("tolerations/items");
            let described = property.get("description").is_some() || path.is_empty();
            assert!(!ours || described, "{path}/{name} has no description");
        }
    });
}

#[test]
fn an_empty_spec_is_safe() {
    let spec: ImageSetPolicySpec = serde_json::from_str("{}").unwrap();
    assert_eq!(spec.mode, Mode::Observe);
    assert_eq!(spec.gate, Gate::Disabled);
    assert_eq!(spec.prepare.discover.channel, Channel::Disabled);
    assert_eq!(spec.tag_moved, TagMoved::Hold);
    assert_eq!(spec.images.on_missing, OnMissing::Hold);
    assert!(!spec.take_ownership);
    assert_eq!(spec.retain, 3);
    assert_eq!(spec, ImageSetPolicySpec::default());
}

#[test]
fn the_server_fills_in_the_same_defaults() {
    let spec = schema()["properties"]["spec"].clone();
    let mut filled = serde_json::Map::new();
    for (name, property) in spec["properties"].as_object().unwrap() {
        if let Some(default) = property.get("default") {
            filled.insert(name.clone(), default.clone());
        }
    }
    let filled: ImageSetPolicySpec = serde_json::from_value(Value::Object(filled)).unwrap();
    assert_eq!(filled, ImageSetPolicySpec::default());
}
