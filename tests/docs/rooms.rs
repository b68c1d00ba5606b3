//! The rooms of `src` ([ADR 0019](../../docs/adr/0019-rooms-by-kind-values-apart-from-rules.md)): which room may use which, and
//! no files that use each other in a circle. Read from the `use` lines and the paths that start with `crate::`.

use std::collections::{BTreeMap, BTreeSet};

use super::{files, has_extension, root};

/// Each room, with the rooms that it may use. A room may always use itself.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("model", &[]),
    ("yaml", &[]),
    ("api", &["model", "yaml"]),
    ("catalogue", &["model"]),
    ("rules", &["model", "catalogue"]),
    ("registry", &["model", "request_metrics"]),
    ("inspection", &["model", "api"]),
    ("manifest", &["model"]),
    ("metrics", &["model", "request_metrics"]),
    ("http", &["metrics"]),
    ("telemetry", &["model"]),
    ("request_metrics", &[]),
    (
        "cluster",
        &["model", "catalogue", "rules", "registry", "inspection", "api", "metrics", "request_metrics", "yaml"],
    ),
    (
        "cli",
        &[
            "model",
            "catalogue",
            "rules",
            "registry",
            "inspection",
            "api",
            "manifest",
            "metrics",
            "http",
            "telemetry",
            "cluster",
            "yaml",
        ],
    ),
    ("main", &["cli"]),
    ("properties", &["model", "catalogue", "rules", "registry", "inspection", "cluster", "api", "manifest"]),
];

/// A module's path below `src`, such as `rules::checks::template`.
type Module = Vec<String>;

/// Every module of `src` with its code: without comments, and without its tests.
fn modules() -> BTreeMap<Module, String> {
    let source = root().join("src");
    let found = files(|path| path.starts_with(&source) && has_extension(path, "rs"));
    let module = |path: &std::path::Path| -> Option<Module> {
        let mut parts: Module = path
            .strip_prefix(&source)
            .ok()?
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into())
            .collect();
        parts.pop_if(|last| matches!(last.as_str(), "mod" | "lib"));
        let is_test = matches!(parts.last().map(String::as_str), Some("tests" | "properties"));
        (!is_test).then_some(parts)
    };
    found.into_iter().filter_map(|(path, text)| Some((module(&path)?, code(&text)))).collect()
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths of a `use` tree: `a::{b, c::{d}}` has `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let segments = |text: &str| -> Vec<String> {
        let text = text.split(" as ").next().unwrap_or_default();
        text.split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let Some((head, inner)) = tree.split_once('{') else { return vec![segments(tree)] };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, character) in inner.char_indices().chain([(inner.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = &inner[start..at];
                found.extend(paths(item).into_iter().filter(|path| !path.is_empty()));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.into_iter().map(|path| segments(head).into_iter().chain(path).collect()).collect()
}

/// What the code of a module uses, as paths below `src`.
fn used(module: &Module, code: &str) -> Vec<Vec<String>> {
    let absolute = |path: Vec<String>| -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        for part in &path[1..] {
            if part == "super" {
                base.pop();
            } else {
                base.push(part.clone());
            }
        }
        Some(base)
    };
    let statements = code.split(';').filter_map(|statement| {
        let line =
            statement.trim_start().lines().skip_while(|line| line.starts_with('#')).collect::<Vec<_>>().join(" ");
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
        Some(line.strip_prefix("use ")?.to_owned())
    });
    let inline = code.match_indices("crate::").map(|(at, _)| {
        let end = code[at..].find(|one: char| !(one.is_alphanumeric() || one == '_' || one == ':'));
        code[at..end.map_or(code.len(), |end| at + end)].to_owned()
    });
    statements.chain(inline).flat_map(|tree| paths(&tree)).filter_map(absolute).collect()
}

/// The modules that each module uses.
fn graph(modules: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let target = |path: &[String]| (1..=path.len()).rev().find_map(|length| modules.get_key_value(&path[..length]));
    let uses = |module: &Module, code: &str| {
        used(module, code).iter().filter_map(|path| Some(target(path)?.0)).filter(|other| *other != module).collect()
    };
    modules.iter().map(|(module, code)| (module, uses(module, code))).collect()
}

#[test]
fn each_room_uses_only_the_rooms_below_it() {
    let modules = modules();
    let room = |module: &Module| module.first().cloned().unwrap_or_default();
    let mut wrong = Vec::new();
    for (module, uses) in graph(&modules) {
        let own = room(module);
        if own.is_empty() {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == own) else {
            wrong.push(format!("src/{own} is in no row of MAY_USE"));
            continue;
        };
        for other in uses {
            let other_room = room(other);
            if other_room != own && !allowed.contains(&other_room.as_str()) {
                wrong.push(format!("{} uses {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(modules.len() > 100, "only {} modules were found", modules.len());
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let modules = modules();
    let graph = graph(&modules);
    let related = |a: &Module, b: &Module| a.starts_with(b) || b.starts_with(a);
    // What uses nothing that is left is taken away; a circle is what stays.
    let mut left: BTreeMap<&Module, BTreeSet<&Module>> = graph
        .iter()
        .map(|(module, uses)| (*module, uses.iter().copied().filter(|other| !related(module, other)).collect()))
        .collect();
    loop {
        let free: Vec<&Module> = left.iter().filter(|(_, uses)| uses.is_empty()).map(|(module, _)| *module).collect();
        if free.is_empty() {
            break;
        }
        for module in free {
            left.remove(module);
            for uses in left.values_mut() {
                uses.remove(module);
            }
        }
    }
    let names = left.keys().map(|module| module.join("::")).collect::<Vec<_>>();
    assert!(names.is_empty(), "these files use each other in a circle, or use such files: {}", names.join(", "));
}

#[test]
fn use_trees_are_taken_apart() {
    let joined = |tree: &str| paths(tree).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(
        joined("crate::a::{self, b, c::{d, e as f}}"),
        ["crate::a::self", "crate::a::b", "crate::a::c::d", "crate::a::c::e"]
    );
    let module: Module = vec!["rules".into(), "gate".into()];
    let code = "use super::decide::finish;\nlet x = crate::model::Read::default();";
    let joined: Vec<String> = used(&module, code).iter().map(|path| path.join("::")).collect();
    assert_eq!(joined, ["rules::decide::finish", "model::Read::default"]);
}
