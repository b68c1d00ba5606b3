//! Objects in YAML or JSON: TigeraStatus and others with conditions, pods, and events.

use serde_json::Value;

use super::part::{MessageText, Part};

/// Returns the parts of all objects, also those in lists; none for kinds that say nothing about images.
pub(super) fn parts(documents: &[Value]) -> Vec<Part> {
    documents.iter().flat_map(items).flat_map(object_parts).collect()
}

/// Returns the items of a list, or the object itself.
fn items(document: &Value) -> &[Value] {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document["items"].as_array().filter(|_| is_list) {
        Some(items) => items,
        None => std::slice::from_ref(document),
    }
}

fn object_parts(object: &Value) -> Vec<Part> {
    match object["kind"].as_str() {
        Some("Pod") => pod(object),
        Some("Event") => event(object).into_iter().collect(),
        Some("TigeraStatus") => vec![conditions(object, &object["status"]["conditions"])],
        // A part of an object, or only its conditions, as `-o jsonpath` prints them.
        _ => [&object["status"]["conditions"], &object["conditions"], object]
            .into_iter()
            .find(|all| all.as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "Degraded")))
            .map(|all| conditions(object, all))
            .into_iter()
            .collect(),
    }
}

/// Returns the reason and message of the condition Degraded, or that the object is healthy.
fn conditions(object: &Value, conditions: &Value) -> Part {
    let name = name(object).unwrap_or_else(|| "the status".to_owned());
    let mut all = conditions.as_array().into_iter().flatten();
    let Some(degraded) = all.find(|one| one["type"] == "Degraded" && one["status"] == "True") else {
        return Part::Healthy(format!("{name}: not degraded"));
    };
    // Releases up to v1.25 put the text into the reason. The bar ends a list of names there.
    message(Some(name), &[&degraded["reason"], &degraded["message"]])
}

/// Returns `Kind name`, or `Kind namespace/name`.
fn name(object: &Value) -> Option<String> {
    let kind = object["kind"].as_str()?;
    let name = object["metadata"]["name"].as_str().unwrap_or("without a name");
    Some(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    })
}

fn message(object: Option<String>, texts: &[&Value]) -> Part {
    let texts: Vec<&str> = texts.iter().filter_map(|text| text.as_str()).filter(|text| !text.is_empty()).collect();
    Part::Message { object, text: MessageText::from(texts.join(" | ")), command: None }
}

/// Returns what the containers of a pod wait for, or have ended with.
fn pod(pod: &Value) -> Vec<Part> {
    let object = name(pod);
    let status = &pod["status"];
    let statuses = ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(|key| status[key].as_array());
    let mut parts = Vec::new();
    for container in statuses.flatten() {
        let states = [&container["state"], &container["lastState"]];
        let running = !states[0]["running"].is_null();
        let waiting = states.iter().map(|state| &state["waiting"]).filter(|waiting| !waiting.is_null());
        let ended = states.iter().map(|state| &state["terminated"]);
        let ended = ended.filter(|ended| !running && ended["exitCode"].as_i64().is_some_and(|code| code != 0));
        parts.extend(waiting.chain(ended).map(|one| message(object.clone(), &[&one["reason"], &one["message"]])));
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let unscheduled = conditions.filter(|one| one["type"] == "PodScheduled" && one["status"] == "False");
    parts.extend(unscheduled.map(|one| message(object.clone(), &[&one["reason"], &one["message"]])));
    if parts.is_empty() {
        parts.push(Part::Healthy(format!("{}: no container waits for an image", object.unwrap_or_default())));
    }
    parts
}

/// Returns the message of an event that warns, or of a back-off, whose type is Normal.
fn event(event: &Value) -> Option<Part> {
    let counts = event["type"] == "Warning" || event["reason"] == "BackOff";
    let about = [&event["involvedObject"], &event["regarding"]].into_iter().find(|object| !object.is_null())?;
    let text = |key: &str| about[key].as_str().unwrap_or_default();
    let object = format!("{} {}/{}", text("kind"), text("namespace"), text("name"));
    let says = [&event["message"], &event["note"]].into_iter().find(|text| !text.is_null())?;
    counts.then(|| message(Some(object), &[&event["reason"], says]))
}
