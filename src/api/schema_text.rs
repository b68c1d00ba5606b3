//! Schemas of the texts in the API: length, pattern and a CEL rule whose message says how to correct the value. The pattern is
//! for checkers without CEL (editors, pipelines); the API server checks both.

use schemars::{Schema, SchemaGenerator, json_schema};

/// One name of the Kubernetes API (RFC 1123 label).
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
/// One segment of a repository path (OCI distribution specification, "Pulling manifests").
const SEGMENT: &str = "[a-z0-9]+([._-]+[a-z0-9]+)*";
/// Host and port of a registry, IPv6 addresses in brackets.
const HOST: &str = r"([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?";
/// The same, but distinct from the first segment of a path: with a dot, a port or brackets.
const CLEAR_HOST: &str = r"([a-zA-Z0-9][-a-zA-Z0-9]*(\.[-a-zA-Z0-9]+)+(:[0-9]{1,5})?|[a-zA-Z0-9][-a-zA-Z0-9]*:[0-9]{1,5}|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?)";
const TAG: &str = "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}";
const DIGEST: &str = "sha256:[a-f0-9]{64}";

/// Returns the schema of a text of at most `max_length` characters that matches the whole of `pattern`. `fix` is the message if
/// it does not.
fn text(pattern: &str, max_length: u32, fix: &str) -> Schema {
    let pattern = format!("^({pattern})$");
    json_schema!({
        "type": "string",
        "maxLength": max_length,
        "pattern": pattern,
        "x-kubernetes-validations": [{"rule": format!("self.matches(r'{pattern}')"), "message": fix}],
    })
}

fn list(items: &Schema, max_items: u32, list_type: &str) -> Schema {
    json_schema!({"type": "array", "items": items, "maxItems": max_items, "x-kubernetes-list-type": list_type})
}

pub(super) fn namespace(_: &mut SchemaGenerator) -> Schema {
    text(LABEL, 63, "name a namespace: lower-case letters, digits and '-', such as tigera-operator")
}

pub(super) fn object_name(_: &mut SchemaGenerator) -> Schema {
    let pattern = format!(r"{LABEL}(\.{LABEL})*");
    text(&pattern, 253, "name an object: lower-case letters, digits, '-' and '.', such as tigera-operator")
}

pub(super) fn container(_: &mut SchemaGenerator) -> Schema {
    text(LABEL, 63, "name a container: lower-case letters, digits and '-', such as tigera-operator")
}

pub(super) fn data_key(_: &mut SchemaGenerator) -> Schema {
    text("[-._a-zA-Z0-9]+", 253, "name a key of the object's data: letters, digits, '-', '_' and '.', such as ca.crt")
}

pub(super) fn host(_: &mut SchemaGenerator) -> Schema {
    text(HOST, 260, "write host or host:port without scheme and path, such as registry.example.com:5000")
}

pub(super) fn mirror(_: &mut SchemaGenerator) -> Schema {
    let pattern = format!("{HOST}(/{SEGMENT})*");
    text(&pattern, 512, "write host[:port][/path] without scheme and trailing slash, such as mirror.example.com/calico")
}

pub(super) fn installation_registry(_: &mut SchemaGenerator) -> Schema {
    let pattern = format!("|UseDefault|{HOST}(/{SEGMENT})*/?");
    text(&pattern, 512, "write host[:port][/path] without scheme, such as registry.example.com/, or leave it out")
}

pub(super) fn image_path(_: &mut SchemaGenerator) -> Schema {
    let pattern = format!("|UseDefault|{SEGMENT}(/{SEGMENT})*");
    text(&pattern, 512, "write a path without leading and trailing slash, such as mirror/calico, or leave it out")
}

pub(super) fn image_prefix(_: &mut SchemaGenerator) -> Schema {
    let pattern = "|UseDefault|[a-z0-9]+([._-]+[a-z0-9]+)*[._-]*";
    text(pattern, 128, "write the start of image names, such as mirrored-calico-, or leave it out")
}

pub(super) fn interval(_: &mut SchemaGenerator) -> Schema {
    text(
        "([0-9]{1,4}h([0-9]{1,4}m)?([0-9]{1,6}s)?|[0-9]{1,4}m([0-9]{1,6}s)?|[0-9]{1,6}s)",
        16,
        "write hours, minutes and seconds, such as 6h, 1h30m or 90s",
    )
}

/// Returns the schema of a list of operator versions and full references of operator images.
pub(super) fn operator_versions(_: &mut SchemaGenerator) -> Schema {
    let version = r"v[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(-[0-9]{1,4})?";
    let reference = format!("{CLEAR_HOST}(/{SEGMENT})+(:{TAG}|(:{TAG})?@{DIGEST})");
    let item = text(
        &format!("{version}|{reference}"),
        512,
        "write a version of the operator, such as v1.42.4 (not of Calico), or a full reference of its image with tag \
         or digest, such as quay.io/tigera/operator:v1.42.4",
    );
    list(&item, 16, "set")
}

/// Returns the schema of a list of image names of an ImageSet.
pub(super) fn image_names(_: &mut SchemaGenerator) -> Schema {
    list(&text(&format!("{SEGMENT}/{SEGMENT}"), 256, IMAGE_NAME_FIX), 64, "set")
}

/// Returns the schema of a map from image names to the digests to use for them.
pub(super) fn digests(_: &mut SchemaGenerator) -> Schema {
    let digest = text(DIGEST, 71, "write the digest as sha256: and 64 lower-case hexadecimal digits");
    let rule = format!("self.all(name, size(name) <= 256 && name.matches(r'^{SEGMENT}/{SEGMENT}$'))");
    json_schema!({
        "type": "object",
        "additionalProperties": digest,
        "maxProperties": 64,
        "x-kubernetes-validations": [{"rule": rule, "message": IMAGE_NAME_FIX}],
    })
}

const IMAGE_NAME_FIX: &str =
    "name images as an ImageSet does, organisation/image without registry and tag, such as calico/node";

pub(super) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": 63},
        "maxProperties": 16,
    })
}
