//! `pin` on the shapes that manifests have in real life: only the one value changes, or it is said where and why not.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::{Kind, Registry};
use crate::{assert_contains, command, outcome, run};

/// A registry with the operator's image.
struct Pinnable {
    registry: Registry,
    folder: tempfile::TempDir,
    digest: String,
}

impl Pinnable {
    async fn start() -> Self {
        let registry = Registry::start(Kind::Anonymous).await.unwrap();
        let image = Image::index("operator", LINUX_PLATFORMS).unwrap();
        let digest = images::push(&registry.access().unwrap(), "tigera/operator", "v1.42.4", &image).await.unwrap();
        Self { registry, folder: tempfile::tempdir().unwrap(), digest }
    }

    fn image(&self) -> String {
        format!("{}/tigera/operator:v1.42.4", self.registry.host())
    }

    fn pinned(&self) -> String {
        format!("{}@{}", self.image(), self.digest)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `pin` of these arguments.
    fn pin(&self, arguments: &[&str]) -> (i32, String, String) {
        let host = self.registry.host();
        outcome(&run(&[&["pin", "--plain-http", &host], arguments].concat()))
    }
}

/// Ways to write it down, with the image where the two percent signs are.
fn shapes() -> Vec<(&'static str, String)> {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: tigera-operator\n  namespace: tigera-operator\n\
        spec:\n  template:\n    spec:\n      containers:\n        - name: tigera-operator\n          image: %%\n          command:\n            - operator\n";
    let padding = "# filler\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: large}\ndata:\n".to_owned()
        + &"  key: \"0123456789 0123456789 0123456789 0123456789 0123456789 0123456789\" # comment\n"
            .replace("key", "k%")
            .repeat(60_000);
    let mut numbered = String::with_capacity(padding.len() * 2);
    for (number, line) in padding.lines().enumerate() {
        numbered += &line.replace("k%", &format!("k{number}"));
        numbered.push('\n');
    }
    vec![
        ("plain", deployment.to_owned()),
        ("single quotes", deployment.replace("%%", "'%%'")),
        ("double quotes", deployment.replace("%%", "\"%%\"")),
        ("with comments", deployment.replace("%%", "   %%   # the operator\tby tag: \"here\"")),
        ("CRLF", deployment.replace('\n', "\r\n")),
        ("tabs in comments", format!("#\tgenerated\n{}", deployment.replace("%%", "%%\t#\tx"))),
        ("no line end", deployment.trim_end().to_owned()),
        ("several documents", format!("---\n# Source: a\n\n---\nkind: Namespace\napiVersion: v1\nmetadata: {{name: tigera-operator}}\n---\n{deployment}...\n---\nnot: kubernetes\n--- text\n---\n- a list\n")),
        ("flow style", "{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: tigera-operator, image: \"%%\"}]}}}}".to_owned()),
        ("JSON", "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"image\":\"%%\",\"name\":\"tigera-operator\"}]}}}}\n".to_owned()),
        ("in a List", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  spec: {template: {spec: {containers: [{name: tigera-operator, image: %%}]}}}\n".to_owned()),
        ("anchors elsewhere", deployment.replace("metadata:\n", "metadata: &meta\n  labels: &l {a: b}\n  annotations: *l\n")),
        ("other containers", deployment.replace("      containers:\n", "      initContainers:\n        - {name: tigera-operator-init, image: a.example/b:v1}\n      containers:\n        - {name: sidecar, image: \"a.example/b:v1\"}\n")),
        ("not ASCII", format!("# Größe: 10 µm 🦀\n{}", deployment.replace("command:", "workingDir: /größe\n          command:"))),
        ("5 MB", format!("{numbered}---\n{deployment}")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_one_value_changes_whatever_the_shape() {
    let box_ = Pinnable::start().await;
    let (image, pinned) = (box_.image(), box_.pinned());
    for (shape, text) in shapes() {
        let file = box_.file("operator.yaml", &text.replace("%%", &image));
        let (code, stdout, stderr) = box_.pin(&[&file]);
        assert_eq!(code, 0, "{shape}: {stderr}");
        assert!(stdout == text.replace("%%", &pinned), "{shape}: more than the image has changed");
        assert_contains(&stderr, &["operator.yaml:", &image, "is pinned to", &box_.digest[..19]]);

        let (code, response, _) = box_.pin(&["--check", &file]);
        assert_eq!(code, 1, "{shape}");
        assert_contains(&response, &["operator.yaml:", "is not pinned; it is"]);
        let (code, response, stderr) = box_.pin(&["--in-place", &file]);
        assert_eq!((code, response.as_str()), (0, ""), "{shape}: {stderr}");
        assert!(fs::read_to_string(&file).unwrap() == stdout, "{shape}");
        // Once more: nothing is left to do.
        let (code, again, stderr) = box_.pin(&[&file]);
        assert_eq!(code, 0, "{shape}");
        assert_contains(&stderr, &["is already pinned to", &box_.digest[..19]]);
        assert!(again == stdout, "{shape}: it is not idempotent");
        assert_eq!(box_.pin(&["--check", &file]).0, 0, "{shape}");
    }
    let names: Vec<_> = fs::read_dir(box_.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["operator.yaml"], "nothing is left beside the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_with_line_and_column_and_stays_as_it_is() {
    let box_ = Pinnable::start().await;
    let image = box_.image();
    let container = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - name: tigera-operator\n{image}"
        )
    };
    let cases = [
        ("no YAML", "a: [b\nc: d\n".to_owned(), ":2:"),
        ("a template", container("        image: {{ .Values.image }}\n"), ":8:"),
        (
            "no operator",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n".to_owned(),
            "no workload in this file",
        ),
        ("an empty file", String::new(), "no workload in this file"),
        ("an alias", format!("image: &image {image}\n---\n{}", container("        image: *image\n")), ":10:16: "),
        (
            "an anchor",
            container(&format!("        image: &image {image}\n        env: [{{name: IMAGE, value: *image}}]\n")),
            "has an anchor",
        ),
        (
            "a merge key",
            container("        <<: {image: a.example/b:v1}\n"),
            ":7:9: container tigera-operator has no image of its own",
        ),
        (
            "no tag",
            container("        image: quay.io/tigera/operator\n"),
            "has no tag, so that it would be any version",
        ),
        (
            "twice",
            container(&format!("        image: {image}\n        image: {image}\n")),
            ":9:16: \"image\" is there twice",
        ),
        ("a block", container(&format!("        image: >-\n          {image}\n")), "is a block of text"),
        (
            "an escape",
            container(&format!("        image: \"{}\"\n", image.replace(':', "\\x3a"))),
            "is not written as it reads",
        ),
        ("no reference", container("        image: \"quay.io/tigera/operator:v1.42.4?\"\n"), ":8:16: "),
        ("too deep", "[".repeat(200) + &"]".repeat(200), "nested more than 100 levels"),
    ];
    for (case, text, output) in cases {
        let file = box_.file("operator.yaml", &text);
        for way in ["--in-place", "--check"] {
            let (code, stdout, stderr) = box_.pin(&[way, &file]);
            assert_eq!((code, stdout.as_str()), (2, ""), "{case}: {stderr}");
            assert_contains(&stderr, &["error: ", "operator.yaml"]);
            assert!(stderr.contains(output), "{case}: {stderr}");
            assert!(fs::read_to_string(&file).unwrap() == text, "{case}");
        }
    }
    let (code, _, stderr) = box_.pin(&["https://example.com/tigera-operator.yaml"]);
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["error: ", "is an address", "hint: curl -fsSL https://example.com/tigera-operator.yaml |"],
    );
    let latin = box_.folder.path().join("latin.yaml");
    fs::write(&latin, b"a: b\nc: \xe4\n").unwrap();
    let (code, _, stderr) = box_.pin(&[latin.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["latin.yaml: line 2 is not UTF-8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moved_is_never_followed_silently() {
    let box_ = Pinnable::start().await;
    let shape = shapes().remove(0).1;
    let file = box_.file("operator.yaml", &shape.replace("%%", &box_.pinned()));
    let moved = Image::index("moved", LINUX_PLATFORMS).unwrap();
    let moved = images::push(&box_.registry.access().unwrap(), "tigera/operator", "v1.42.4", &moved).await.unwrap();
    let (code, stdout, stderr) = box_.pin(&[&file]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_contains(
        &stderr,
        &["error: ", "operator.yaml:11:", &moved[..19], "now, pinned is", &box_.digest[7..19], "hint: ", "--update"],
    );
    let (code, response, _) = box_.pin(&["--check", &file]);
    assert_eq!(code, 1);
    assert_contains(&response, &["operator.yaml:11", &moved[..19], "now, pinned is", &box_.digest[..19]]);
    let (code, stdout, _) = box_.pin(&["--update", &file]);
    assert_eq!((code, stdout), (0, shape.replace("%%", &format!("{}@{moved}", box_.image()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_and_kustomizations_get_the_lines_to_add() {
    let box_ = Pinnable::start().await;
    let (host, digest) = (box_.registry.host(), box_.digest.clone());
    let kustomization = format!(
        "kind: Kustomization\nresources: [operator.yaml]\nimages:\n- name: quay.io/tigera/operator\n  newName: {host}/tigera/operator\n  newTag: v1.42.4\n"
    );
    let file = box_.file("kustomization.yaml", &kustomization);
    let (code, stdout, stderr) = box_.pin(&[&file]);
    let lines = format!(
        "images:\n- name: quay.io/tigera/operator\n  newName: {host}/tigera/operator\n  digest: {digest} # v1.42.4\n"
    );
    assert_eq!((code, stdout), (0, lines), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), kustomization);

    // As the printed lines have it, without a tag, and without a kind, as kustomize takes it: pinned is pinned.
    let pinned = format!(
        "resources: [a.yaml]\nimages:\n- name: quay.io/tigera/operator\n  newName: {host}/tigera/operator\n  digest: {digest} # v1.42.4\n"
    );
    let file = box_.file("kustomization.yaml", &pinned);
    let (code, stdout, _) = box_.pin(&["--check", &file]);
    assert_eq!(code, 0);
    assert_contains(&stdout, &["is pinned, without a tag to compare it with"]);
    let (code, stdout, stderr) = box_.pin(&[&file]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_contains(&stderr, &["is pinned, without a tag"]);
    let (code, _, stderr) = box_.pin(&["--in-place", &file]);
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["kustomizations, and values without a version, are not changed in place", "hint: without --in-place"],
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), pinned);

    // Values are changed where they have the version.
    let values = format!("tigeraOperator:\n  registry: {host}/\n  version: v1.42.4\ninstallation: {{enabled: true}}\n");
    let file = box_.file("values.yaml", &values);
    let pinned = values.replace("v1.42.4", &format!("v1.42.4@{digest}"));
    let (code, stdout, stderr) = box_.pin(&[&file]);
    assert_eq!((code, stdout.as_str()), (0, pinned.as_str()), "{stderr}");
    assert_eq!(box_.pin(&["--check", &file]).0, 1);
    assert_eq!(box_.pin(&["--in-place", &file]).0, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), pinned);
    assert_eq!(box_.pin(&["--check", &file]).0, 0);
    let file = box_.file("values.yaml", &format!("tigeraOperator: {{registry: \"{host}\"}}\n"));
    let (code, _, stderr) = box_.pin(&[&file]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["tigeraOperator.version is not set", "hint: name it with --version"]);
    let (code, stdout, stderr) = box_.pin(&["--version", "v1.42.4", &file]);
    assert_eq!((code, stdout), (0, format!("tigeraOperator:\n  version: v1.42.4@{digest}\n")), "{stderr}");
}

/// The files of a folder of cases, by name.
fn cases(folder: &str) -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    };
    let mut cases: Vec<(String, String)> = files.map(read).collect();
    cases.sort();
    cases
}

/// Every file of `tests/cases/pin` has the registry as `{HOST}`, and `{DIGEST}` where the digest comes. A new case is a new file.
#[tokio::test(flavor = "multi_thread")]
async fn every_file_from_the_field_is_pinned_in_all_its_places_and_nowhere_else() {
    let box_ = Pinnable::start().await;
    let host = box_.registry.host();
    for (name, case) in cases("pin") {
        let text = case.replace("{HOST}", &host);
        let pinned = text.replace("{DIGEST}", &format!("@{}", box_.digest));
        for line_end in ["\n", "\r\n"] {
            let with = |text: &str| text.replace("{DIGEST}", "").replace('\n', line_end);
            let (before, after) = (with(&text), with(&pinned));
            let file = box_.file(&name, &before);
            assert_eq!(box_.pin(&["--check", &file]).0, 1, "{name}");
            let (code, stdout, stderr) = box_.pin(&[&file]);
            assert_eq!((code, stdout.as_str()), (0, after.as_str()), "{name}: {stderr}");
            assert_eq!(box_.pin(&["--in-place", &file]).0, 0, "{name}");
            assert_eq!(fs::read_to_string(&file).unwrap(), after, "{name}");
            assert_eq!(box_.pin(&["--check", &file]).0, 0, "{name}");
            let (code, again, stderr) = box_.pin(&[&file]);
            assert_eq!((code, again.as_str()), (0, after.as_str()), "{name}: {stderr}");
            assert_contains(&stderr, &["is already pinned to"]);
        }
    }
}

/// Every file of `tests/cases/pin-refused` has what the message says, line by line, then `---`, then the text.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pinned_is_named_with_what_to_do_and_nothing_is_pinned_half() {
    let box_ = Pinnable::start().await;
    for (name, case) in cases("pin-refused") {
        let (expected, text) = case.split_once("\n---\n").unwrap();
        let file = box_.file("file.yaml", text);
        let (code, stdout, stderr) = box_.pin(&[&file]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{name}: {stderr}");
        assert_eq!(box_.pin(&["--in-place", &file]).0, 2, "{name}");
        for line in expected.lines() {
            let line = line.replace("standard input:", "file.yaml:");
            assert!(stderr.contains(&line), "{name}: {line:?} is not in {stderr}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_one_platform_and_a_tag_that_may_move_are_warned_of() {
    let box_ = Pinnable::start().await;
    let single = Image::single("single", LINUX_PLATFORMS[0]).unwrap();
    images::push(&box_.registry.access().unwrap(), "tigera/operator", "latest", &single).await.unwrap();
    let text = shapes().remove(0).1.replace("%%", &box_.image()).replace("v1.42.4", "latest");
    let (code, _, stderr) = box_.pin(&[&box_.file("operator.yaml", &text)]);
    assert_eq!(code, 0, "{stderr}");
    assert_contains(
        &stderr,
        &["tag \"latest\" is not the version of an operator release", "is a single manifest for linux/"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_on_standard_input_is_pinned_and_generated_from() {
    let box_ = Pinnable::start().await;
    let host = box_.registry.host();
    let text = shapes().remove(0).1.replace("%%", &box_.image());
    let piped = |arguments: &[&str], text: &str| {
        let mut child = command(arguments);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        outcome(&child.wait_with_output().unwrap())
    };
    let (code, pinned, stderr) = piped(&["pin", "-", "--plain-http", &host], &text);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(pinned, text.replace(&box_.image(), &box_.pinned()));

    let references = crate::generate::calico_references("v1.42.4");
    images::push_release(&box_.registry.access().unwrap(), &references, None).await.unwrap();
    let installation = format!(
        "---\napiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {{name: default}}\nspec: {{variant: Calico, registry: \"{host}\"}}\n"
    );
    // A pinned manifest is as good as one by tag, and the Installation beside it says where images are.
    let (code, set, stderr) = piped(&["generate", "-f", "-", "--plain-http", &host], &(pinned + &installation));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let by_name = outcome(&run(&["generate", "v1.42.4", "--registry", &host, "--plain-http", &host])).1;
    let without_comments =
        |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert_eq!(without_comments(&set), without_comments(&by_name));
    assert_contains(&set, &["# Digests for tigera-operator v1.42.4", "--registry", &host, "# from standard input: "]);
}
