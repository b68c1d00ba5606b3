//! The page of the API: every field of the definition as the cluster has it, and the annotations and labels that stand in the code.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::reference::cell;
use super::{assert_current, files, has_extension, root};

const PAGE: &str = "docs/reference/api.md";
const DEFINITION: &str = "crds/imageset-controller.io_imagesetpolicies.yaml";

const HEAD: &str = "\
# The API

<!-- Made from crds/ by `UPDATE=1 cargo test --test docs`; don't edit. -->

The API has one kind, `ImageSetPolicy`, with one object, `default`. People and Git write its `spec`. The controller writes its `status`, and nothing else
of it. `kubectl explain imagesetpolicy.spec` shows the same text as this page. `[]` stands for each entry of a list, `{}` for each value of a map. An
object that is left out has the defaults of its fields.
";

const RULES: &str = "
## Rules

The API server rejects a policy that violates one of these rules, with this message. `self` is the field with the rule.
";

/// What is kept in metadata: where, name and value, who writes it, what for. Every name of ours in the code is here.
const MARKS: [(&str, &str, &str, &str, &str); 13] = [
    (
        "ImageSetPolicy",
        "annotation",
        "imageset-controller.io/prepare",
        "people, `prepare`",
        "`VERSION=TIME`, several with commas between them, at most 16: operator versions to stage until then",
    ),
    (
        "ImageSetPolicy",
        "annotation",
        "imageset-controller.io/refresh",
        "people, `refresh`",
        "each new value, at most 128 characters, triggers one check of everything; `status.lastHandledRefresh` has the last handled value",
    ),
    (
        "the operator's Deployment",
        "annotation",
        "imageset-controller.io/break-glass",
        "people",
        "an operator image that the gate admits although no set is ready for it; it admits no other",
    ),
    (
        "ImageSet",
        "label",
        "imageset-controller.io/policy",
        "the controller",
        "`default`: the controller manages the set. Without this label the set is unmanaged, and left alone unless `spec.takeOwnership` is true",
    ),
    (
        "ImageSet",
        "annotation",
        "imageset-controller.io/operator-version",
        "the controller, `generate`",
        "operator version of the set",
    ),
    ("ImageSet", "annotation", "imageset-controller.io/record", "the controller", "record with the digests of the set"),
    (
        "ImageSet",
        "annotation",
        "imageset-controller.io/content",
        "the controller",
        "digest of the entries that the controller wrote, to detect edits",
    ),
    (
        "ConfigMap in the controller's namespace",
        "label",
        "imageset-controller.io/record",
        "the controller",
        "`true`: resolved digests of a release; `inspection`: the output of an operator image",
    ),
    (
        "Job and pod in the inspection namespace",
        "label",
        "imageset-controller.io/inspection",
        "the controller",
        "`true`: it inspects an operator image",
    ),
    (
        "Job in the inspection namespace",
        "annotation",
        "imageset-controller.io/operator-image",
        "the controller",
        "the image reference as found",
    ),
    (
        "Job in the inspection namespace",
        "annotation",
        "imageset-controller.io/version-label",
        "the controller",
        "the image's label `version`",
    ),
    (
        "Job in the inspection namespace",
        "annotation",
        "imageset-controller.io/attempt",
        "the controller",
        "attempt number, starting at 1",
    ),
    (
        "Job in the inspection namespace",
        "annotation",
        "imageset-controller.io/failed-before",
        "the controller",
        "why the previous attempt failed",
    ),
];

const AROUND: &str = "
ImageSets, records, inspection Jobs and the gate also have the label `app.kubernetes.io/managed-by: imageset-controller`. The controller writes with the
field manager `imageset-controller`, the commands change a policy with `imageset-controller-cli`. The gate is the ValidatingAdmissionPolicy
`imageset-controller-gate` and its binding of the same name. The policy object owns both, and both have the label of ImageSets. Nothing has a finalizer.
";

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// One line of whatever it is.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| serde_json::to_string(value).unwrap(), str::to_owned)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn kind(schema: &Value) -> String {
    let of = |inner: &Value| if inner["type"] == "object" { "object".to_owned() } else { kind(inner) };
    match text(schema, "type") {
        "array" => format!("list of {}", of(&schema["items"])),
        "object" if !schema["additionalProperties"].is_null() => {
            format!("map to {}", of(&schema["additionalProperties"]))
        }
        "string" if text(schema, "format") == "date-time" => "time".to_owned(),
        other => other.to_owned(),
    }
}

/// What the value may be, but for its type.
fn limits(schema: &Value) -> Vec<String> {
    let mut limits: Vec<String> = Vec::new();
    let words: Vec<String> = list(schema, "enum").map(|word| format!("`{}`", plain(word))).collect();
    if !words.is_empty() {
        limits.push(words.join(", "));
    }
    let number = |key: &str| schema[key].as_f64();
    if let (Some(least), Some(most)) = (number("minimum"), number("maximum")) {
        limits.push(format!("{least} to {most}"));
    }
    for (key, of) in [("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "entries")] {
        limits.extend(number(key).map(|most| format!("at most {most} {of}")));
    }
    let keys: Vec<String> = list(schema, "x-kubernetes-list-map-keys").map(plain).collect();
    if !keys.is_empty() {
        limits.push(format!("one entry per {}", keys.join(" and ")));
    }
    if text(schema, "x-kubernetes-list-type") == "set" {
        limits.push("each once".to_owned());
    }
    limits.extend(list(schema, "x-kubernetes-validations").map(|rule| text(rule, "message").to_owned()));
    for inner in [&schema["items"], &schema["additionalProperties"]] {
        if inner.is_object() && inner["type"] != "object" {
            limits.extend(self::limits(inner).into_iter().map(|limit| format!("each: {limit}")));
        }
    }
    limits
}

/// The rows of what is in `schema`, and the rules in there.
fn rows(page: &mut String, path: &str, schema: &Value, rules: &mut BTreeSet<(String, String)>) {
    for rule in list(schema, "x-kubernetes-validations") {
        rules.insert((text(rule, "message").to_owned(), text(rule, "rule").to_owned()));
    }
    for (inner, mark) in [(&schema["items"], "[]"), (&schema["additionalProperties"], "{}")] {
        if inner.is_object() {
            rows(page, &format!("{path}{mark}"), inner, rules);
        }
    }
    let required: Vec<&str> = list(schema, "required").filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let here = format!("{path}.{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            // The fields in there have a row each.
            Value::Null | Value::Object(_) => String::new(),
            default => format!("`{}`", plain(default)),
        };
        let description = text(field, "description").replace('\n', " ");
        let mut cells = vec![format!("`{}`", here.trim_start_matches('.')), kind(field), default];
        cells.push(cell(&limits(field).join("; ")));
        cells.push(cell(&description));
        writeln!(page, "| {} |", cells.join(" | ")).unwrap();
        // Kubernetes' own type, described in its own documentation.
        if name != "tolerations" {
            rows(page, &here, field, rules);
        }
    }
}

fn page(definition: &Value) -> String {
    let (spec, version) = (&definition["spec"], &definition["spec"]["versions"][0]);
    let (names, schema) = (&spec["names"], &version["schema"]["openAPIV3Schema"]);
    let joined = |key: &str| list(names, key).map(|name| format!("`{}`", plain(name))).collect::<Vec<_>>().join(", ");
    let mut page = format!("{HEAD}\n| | |\n|---|---|\n");
    writeln!(page, "| Group and version | `{}/{}` |", text(spec, "group"), text(version, "name")).unwrap();
    writeln!(page, "| Kind, plural | `{}`, `{}` |", text(names, "kind"), text(names, "plural")).unwrap();
    writeln!(page, "| Short name, category | {}, {} |", joined("shortNames"), joined("categories")).unwrap();
    writeln!(page, "| Scope | {} |", text(spec, "scope")).unwrap();
    writeln!(page, "| Subresource | `{}` |", if version["subresources"]["status"].is_object() { "status" } else { "" })
        .unwrap();

    page.push_str("\n## Columns of kubectl get\n\n| Column | With `-o wide` only | Path |\n|---|---|---|\n");
    for column in list(version, "additionalPrinterColumns") {
        let wide = if column["priority"] == 1 { "yes" } else { "" };
        writeln!(page, "| {} | {wide} | `{}` |", text(column, "name"), text(column, "jsonPath")).unwrap();
    }

    let mut rules = BTreeSet::new();
    for part in ["spec", "status"] {
        let schema = &schema["properties"][part];
        write!(page, "\n## {part}\n\n{}\n\n", text(schema, "description").replace('\n', " ")).unwrap();
        page.push_str("| Field | Type | Default | Allowed | Meaning |\n|---|---|---|---|---|\n");
        rows(&mut page, part, schema, &mut rules);
    }
    for rule in list(schema, "x-kubernetes-validations") {
        rules.insert((text(rule, "message").to_owned(), text(rule, "rule").to_owned()));
    }
    page.push_str(RULES);
    page.push_str("\n| Text | Rule (CEL) |\n|---|---|\n");
    for (message, rule) in &rules {
        writeln!(page, "| {} | `{}` |", cell(message), rule.replace('|', "\\|")).unwrap();
    }

    page.push_str(
        "\n## Annotations and labels\n\n| Object | Kind | Name | Written by | Meaning |\n|---|---|---|---|---|\n",
    );
    for (on, what, name, writer, meaning) in MARKS {
        writeln!(page, "| {on} | {what} | `{name}` | {writer} | {} |", cell(meaning)).unwrap();
    }
    page + AROUND
}

fn definition() -> Value {
    imageset_controller::yaml::from_str(&fs::read_to_string(root().join(DEFINITION)).unwrap()).unwrap()
}

#[test]
fn the_page_of_the_api_says_what_the_definition_says() {
    assert_current(PAGE, &page(&definition()));
}

/// So that nothing can be in the schema that the page would be silent about.
#[test]
fn every_keyword_of_the_definition_is_one_that_the_page_tells() {
    const TOLD: [&str; 15] = [
        "type",
        "format",
        "default",
        "enum",
        "description",
        "required",
        "minimum",
        "maximum",
        "maxLength",
        "maxItems",
        "maxProperties",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-validations",
        "properties",
        "additionalProperties",
    ];
    // Null is a field left out; a pattern says the same as the rule beside it; lists of objects without a key are written as a whole.
    const SILENT: [&str; 5] = ["items", "nullable", "pattern", "x-kubernetes-list-type", "title"];
    fn walk(schema: &Value, fields: &mut usize) {
        for key in schema.as_object().unwrap().keys() {
            assert!(TOLD.contains(&key.as_str()) || SILENT.contains(&key.as_str()), "the page does not tell {key}");
        }
        let has_rule = !schema["x-kubernetes-validations"].is_null();
        assert!(schema["pattern"].is_null() || has_rule, "a pattern without a rule that says it");
        for field in schema["properties"].as_object().into_iter().flat_map(serde_json::Map::values) {
            *fields += 1;
            walk(field, fields);
        }
        for inner in [&schema["items"], &schema["additionalProperties"]] {
            if inner.is_object() {
                walk(inner, fields);
            }
        }
    }
    let mut fields = 0;
    walk(&definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut fields);
    assert!(fields > 100, "only {fields} fields were found");
}

/// The names of ours in a text of code, within quotes.
fn names(code: &str) -> BTreeSet<String> {
    let starts = code.split("\"imageset-controller.io/").skip(1);
    let names = starts.filter_map(|rest| rest.split('"').next()).filter(|name| !name.starts_with("v1"));
    names.map(|name| format!("imageset-controller.io/{name}")).collect()
}

#[test]
fn every_annotation_and_label_of_the_code_is_on_the_page() {
    let mut used = BTreeSet::new();
    for (_, code) in files(|path| has_extension(path, "rs") && path.starts_with(root().join("src"))) {
        used.extend(names(&code));
    }
    let told: BTreeSet<String> = MARKS.iter().map(|mark| mark.2.to_owned()).collect();
    assert_eq!(used, told);
    assert_eq!(names("x(\"imageset-controller.io/new\"), \"imageset-controller.io/v1alpha1\"").len(), 1);
}
