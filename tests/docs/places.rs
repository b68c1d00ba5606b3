//! Documents that say where things are: every file and folder that they name is there, and every guide is found from the index.

use std::path::Path;

use super::{documents, root, shown};

/// The documents for those who work on the code.
fn names_places(path: &Path) -> bool {
    let name = shown(path);
    matches!(name.as_str(), "docs/architecture.md" | "CONTRIBUTING.md")
        || ["docs/adr/", "docs/ideas/"].iter().any(|folder| name.starts_with(folder))
}

/// The paths in a text: words whose first part is something of the checkout, or of `src`.
fn places(document: &str) -> Vec<&str> {
    let words = document.split(|one: char| !(one.is_ascii_alphanumeric() || "._-/".contains(one)));
    let words = words.map(|word| word.trim_end_matches(['.', '/', '-']));
    let is_place = |word: &&str| {
        let Some((first, rest)) = word.split_once('/') else { return false };
        let known = root().join(first).exists() || root().join("src").join(first).exists();
        // What is built is not there yet; capitals stand for any name.
        known && !first.is_empty() && !matches!(first, "." | ".." | "target") && !rest.contains("NAME")
    };
    words.filter(is_place).collect()
}

fn exists(place: &str) -> bool {
    let inside = root().join("src").join(place);
    root().join(place).exists() || inside.exists() || inside.with_extension("rs").exists()
}

/// The modules that a paragraph "Inside `room`: …" names in short.
fn modules(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    for paragraph in document.split("\n\n") {
        let Some(rest) = paragraph.strip_prefix("Inside `") else { continue };
        let Some((room, text)) = rest.split_once("`: ") else { continue };
        let words = text.split('`').skip(1).step_by(2);
        let short = words.filter(|word| word.chars().all(|one| one.is_ascii_lowercase() || one == '_'));
        found.extend(short.map(|word| format!("{room}/{word}")));
    }
    found
}

#[test]
fn what_documents_of_the_code_name_is_there() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, document) in documents().into_iter().filter(|(path, _)| names_places(path)) {
        let modules = modules(&document);
        for place in places(&document).into_iter().chain(modules.iter().map(String::as_str)) {
            seen += 1;
            if !exists(place) {
                wrong.push(format!("{}: {place} is not there", shown(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "only {seen} places were found");
}

#[test]
fn a_place_that_is_not_there_is_found() {
    let document = "`src/main.rs`, `cluster/write` and src/gone.rs. See `calico/node`, ../src/x.rs, https://a.example/src/y.rs\n\n\
        Inside `rules`: `decide` and `wobble` with `CHECKS`, `src/rules/checks/`.";
    assert_eq!(places(document), ["src/main.rs", "cluster/write", "src/gone.rs", "src/rules/checks"]);
    assert_eq!(modules(document), ["rules/decide", "rules/wobble"]);
    let wrong: Vec<&str> = places(document).into_iter().filter(|place| !exists(place)).collect();
    assert_eq!((wrong, exists("rules/wobble")), (vec!["src/gone.rs"], false));
}

/// By a link of its own: whoever looks for a page finds it there, and the README leads there.
#[test]
fn every_page_for_users_is_in_the_index() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    let mut pages = 0;
    for (path, _) in documents() {
        let name = shown(&path);
        let Some(below) = name.strip_prefix("docs/") else { continue };
        let folder = below.split_once('/').map_or("", |(folder, _)| folder);
        if below != "README.md" && ["", "guide", "reference", "ideas"].contains(&folder) {
            assert!(index.contains(&format!("]({below})")), "docs/{below} is not in docs/README.md");
            pages += 1;
        }
    }
    assert!(pages > 28, "only {pages} pages were found");
    assert!(std::fs::read_to_string(root().join("README.md")).unwrap().contains("](docs/README.md)"));
}
