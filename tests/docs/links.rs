//! Relative links in documents lead to files of the checkout, and to headings that are there.

use std::fs;
use std::path::Path;

use super::{documents, root, shown};

/// The lines that are prose: no code block, and inline code cut out.
pub(super) fn prose(document: &str) -> String {
    let mut text = String::new();
    let mut fence: Option<&str> = None;
    for line in document.lines() {
        let start = line.trim_start();
        match fence {
            Some(mark) if start.starts_with(mark) => fence = None,
            Some(_) => {}
            None if start.starts_with("```") => fence = Some("```"),
            None if start.starts_with("~~~") => fence = Some("~~~"),
            None => {
                let parts = line.split('`').enumerate();
                text.extend(parts.filter(|(index, _)| index % 2 == 0).map(|(_, part)| part));
                text.push('\n');
            }
        }
    }
    text
}

/// The targets of all links and images.
fn targets(document: &str) -> Vec<String> {
    let prose = prose(document);
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let html = ["href=\"", "src=\""];
    let html = html.iter().flat_map(|start| prose.split(start).skip(1)).filter_map(|rest| rest.split('"').next());
    let definitions =
        prose.lines().filter(|line| line.starts_with('[')).filter_map(|line| Some(line.split_once("]: ")?.1));
    let targets = inline.chain(html).chain(definitions).filter_map(|target| target.split_whitespace().next());
    targets.map(|target| target.trim_matches(['<', '>']).to_owned()).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> Vec<String> {
    let mut fenced = false;
    let headings = document.lines().filter(|line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced && line.starts_with('#')
    });
    let anchor = |line: &str| -> String {
        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|one| one.is_alphanumeric() || matches!(one, '-' | '_')).collect()
    };
    headings.map(anchor).collect()
}

/// What is wrong with a link of the document at `path`.
fn problem(path: &Path, document: &str, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    if file.contains("://") || file.starts_with("mailto:") {
        return None;
    }
    let text = if file.is_empty() {
        document.to_owned()
    } else {
        let leads_to = path.parent()?.join(file);
        let Ok(whole) = leads_to.canonicalize() else {
            return Some(format!("{}: {target} leads nowhere", shown(path)));
        };
        if file.starts_with('/') || !whole.starts_with(root().canonicalize().unwrap()) {
            return Some(format!("{}: {target} leads out of the repository", shown(path)));
        }
        fs::read_to_string(&whole).unwrap_or_default()
    };
    let found = anchor.is_empty() || anchors(&text).iter().any(|one| one == anchor);
    (!found).then(|| format!("{}: {target} names a heading that is not there", shown(path)))
}

#[test]
fn every_link_leads_to_a_file_of_the_repository() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (path, document) in documents() {
        for target in targets(&document) {
            checked += 1;
            wrong.extend(problem(&path, &document, &target));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 30, "only {checked} links were found");
}

#[test]
fn broken_links_are_found() {
    let document = "# A title, here\n[a](no-such.md), `[b](code.md)` and [c](Cargo.toml) and [d](../..)\n\
        ```\n[e](fenced.md)\n```\n[f](#a-title-here) [g](#no-title) ![h](https://example.com/x.png)\n[i]: gone.md\n";
    assert_eq!(
        targets(document),
        ["no-such.md", "Cargo.toml", "../..", "#a-title-here", "#no-title", "https://example.com/x.png", "gone.md"]
    );
    let path = root().join("x.md");
    let wrong: Vec<String> =
        targets(document).iter().filter(|target| problem(&path, document, target).is_some()).cloned().collect();
    assert_eq!(wrong, ["no-such.md", "../..", "#no-title", "gone.md"]);
}
