//! What documents say of installing: their overlays build, their chart commands and values render, and what they apply is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::objects::{differences, objects};
use super::tools::{CHART, helm, printed, tool};
use super::{files, root, text};

const HEAD: &str = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../deploy/base]\n";

/// The documents of users, by the names that people write.
fn documents() -> Vec<(String, String)> {
    let paths = files("docs", "md").into_iter().chain(files("deploy", "md")).chain([root().join("README.md")]);
    let shown = |path: &PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    paths.map(|path| (shown(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// The blocks of a language, less the indent of their fence.
fn blocks(document: &str, languages: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<(usize, Option<String>)> = None;
    for line in document.lines() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (&mut block, fence) {
            (None, Some(language)) => block = Some((indent, languages.contains(&language).then(String::new))),
            (None, None) => {}
            (Some(_), Some(_)) => found.extend(block.take().and_then(|(_, text)| text)),
            (Some((indent, Some(text))), None) => {
                text.push_str(line.get(*indent..).unwrap_or_default());
                text.push('\n');
            }
            (Some(_), None) => {}
        }
    }
    found
}

/// The commands of a document's shell blocks that have these words, one a line, without prompt and comment.
fn commands(document: &str, has: &[&str]) -> Vec<Vec<String>> {
    let shell = blocks(document, &["sh", "console"]).concat().replace("\\\n", " ").replace("|\n", "| ");
    let parts = shell.lines().flat_map(|line| line.split(" | ")).map(|part| part.trim().trim_start_matches("$ "));
    let words = parts.map(|part| {
        part.split_whitespace().take_while(|word| !word.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    });
    words.filter(|words| has.iter().all(|one| words.iter().any(|word| word == one))).collect()
}

fn copy(from: &Path, to: &Path) {
    printed(&Command::new("cp").arg("-R").arg(from).arg(to).output().unwrap());
}

/// Beside copies of `deploy/` and `crds/`, as in a checkout.
#[test]
fn overlays_in_documents_build() {
    let checkout = tempfile::tempdir().unwrap();
    for folder in ["deploy", "crds"] {
        copy(&root().join(folder), &checkout.path().join(folder));
    }
    let overlay = checkout.path().join("overlay");
    fs::create_dir(&overlay).unwrap();
    let base =
        objects(&printed(&tool("kustomize").arg("build").arg(checkout.path().join("deploy/base")).output().unwrap()));
    let mut seen = 0;
    for (place, document) in documents() {
        for block in blocks(&document, &["yaml"]) {
            let whole = block.starts_with("apiVersion: kustomize.config.k8s.io/");
            if !whole && !block.starts_with("patches:\n") {
                continue;
            }
            let kustomization = if whole { block } else { format!("{HEAD}{block}") };
            fs::write(overlay.join("kustomization.yaml"), &kustomization).unwrap();
            let output = tool("kustomize").arg("build").arg(&overlay).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{place}:\n{kustomization}\n{message}");
            let made = objects(&String::from_utf8(output.stdout).unwrap());
            assert!(made != base, "{place}: this changes nothing:\n{kustomization}");
            seen += 1;
        }
    }
    assert!(seen > 4, "only {seen} overlays were found");
}

#[test]
fn chart_commands_in_documents_render() {
    let mut seen = 0;
    for (place, document) in documents() {
        let values = blocks(&document, &["yaml"]).into_iter().find(|block| block.starts_with("# values.yaml\n"));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("values.yaml"), values.unwrap_or_default()).unwrap();
        for words in commands(&document, &["helm", CHART]) {
            assert!(matches!(words[1].as_str(), "install" | "upgrade"), "{place}: {words:?}");
            let mut flags = Vec::new();
            for pair in words.windows(2) {
                match pair[0].as_str() {
                    "--set" => flags.push(format!("--set={}", pair[1])),
                    "--values" => flags.push(format!("--values={}", folder.path().join(&pair[1]).display())),
                    "--namespace" => assert_eq!(pair[1], "imageset-controller", "{place}"),
                    _ => {}
                }
            }
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            assert!(!flags.is_empty(), "{place}: nothing says where the image is: {words:?}");
            let made = objects(&helm(&flags));
            let image = &made["Deployment imageset-controller/imageset-controller"]["spec"]["template"]["spec"]["containers"]
                [0]["image"];
            assert!(
                image.as_str().unwrap().starts_with("registry.example.com/imageset-controller:v"),
                "{place}: {image}"
            );
            known(&place, &words);
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} commands were found");
}

/// Every flag is one of the verb's own.
fn known(place: &str, words: &[String]) {
    let help = printed(&tool("helm").args([&words[1], "--help"]).output().unwrap());
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let name = flag.split('=').next().unwrap();
        assert!(help.split_whitespace().any(|word| word == name), "{place}: helm {} has no {name}", words[1]);
    }
}

#[test]
fn what_documents_apply_is_there() {
    let mut seen = 0;
    for (place, document) in documents() {
        for words in commands(&document, &["kubectl"]) {
            for pair in words.windows(2).filter(|pair| matches!(pair[0].as_str(), "-k" | "-f")) {
                if pair[1].starts_with("deploy/") || pair[1].starts_with("crds") {
                    let path = root().join(&pair[1]);
                    let path = if pair[0] == "-k" { path.join("kustomization.yaml") } else { path };
                    assert!(path.exists(), "{place}: {} is not there", pair[1]);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 4, "only {seen} were found");
}

/// As the guide and the file itself document it.
#[test]
fn the_one_file_gets_its_registry() {
    let sed = documents().into_iter().flat_map(|(_, document)| commands(&document, &["sed"])).next().unwrap();
    let [program, expression @ .., file] = sed.as_slice() else { panic!("{sed:?}") };
    let expression = expression.join(" ");
    let output = Command::new(program).arg(expression.trim_matches('\'')).arg(root().join(file)).output().unwrap();
    let changed = differences(&objects(&text("deploy/install.yaml")), &objects(&printed(&output)));
    let name = concat!("imageset-controller:v", env!("CARGO_PKG_VERSION"));
    let place = "Deployment imageset-controller/imageset-controller.spec.template.spec.containers[0].image";
    assert_eq!(changed, [format!(r#"{place}: "{name}" and "registry.example.com/{name}""#)]);
}

#[test]
fn blocks_and_commands_are_found() {
    let document = "   ```sh\n   $ kubectl get x   # why\n   helm install a \\\n     chart | cat\n   ```\n```yaml\na: 1\n```\n`helm x`\n";
    assert_eq!(blocks(document, &["yaml"]), ["a: 1\n"]);
    assert_eq!(commands(document, &["kubectl"]), [["kubectl", "get", "x"]]);
    assert_eq!(commands(document, &["helm"]), [["helm", "install", "a", "chart"]]);
}
