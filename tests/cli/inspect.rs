//! `--inspect`: an operator that the catalogue does not know is run by a container engine of the machine. The engines are scripts that
//! note how they are called; the registry is a real one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::generate::sets;
use crate::testbox::images::{self, Image};
use crate::testbox::rules::{Features, OperatorRules, Variant};
use crate::testbox::{Kind, Registry};
use crate::{assert_contains, command, outcome};

const VERSION: &str = "v1.44.0";
const ENGINES: [&str; 3] = ["docker", "podman", "nerdctl"];

/// Prints what an operator prints, whatever the engine.
const PRINTS: &str = "case \"$last\" in --version) exec /bin/cat \"$here/version.txt\";; \
    --print-images=list) echo 'Pulled' >&2; exec /bin/cat \"$here/images.txt\";; esac";

/// A machine with a registry in its reach that has the operator and its images, a cache folder, and the engines of a test.
struct Machine {
    registry: Registry,
    folder: tempfile::TempDir,
    /// Digest of the operator's image.
    digest: String,
}

fn rules() -> OperatorRules {
    OperatorRules::merged(VERSION, "v3.33.0").unwrap()
}

impl Machine {
    async fn new() -> Self {
        let registry = Registry::start(Kind::Anonymous).await.unwrap();
        let access = registry.access().unwrap();
        images::push_release(&access, &rules().calico_references(), None).await.unwrap();
        let operator = Image::of_reference(&format!("quay.io/tigera/operator:{VERSION}")).unwrap();
        let digest = images::push(&access, "tigera/operator", VERSION, &operator).await.unwrap();
        let machine = Self { registry, folder: tempfile::tempdir().unwrap(), digest };
        fs::create_dir(machine.path("bin")).unwrap();
        machine.prints(&rules().printed_version(), &rules().printed_list());
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the operator prints from now on.
    fn prints(&self, version: &str, images: &str) {
        fs::write(self.path("bin/version.txt"), version).unwrap();
        fs::write(self.path("bin/images.txt"), images).unwrap();
    }

    /// Installs the engine. It does `run` when it is to run a container, and removes every container.
    fn engine(&self, name: &str, run: &str) {
        let script = format!(
            "#!/bin/sh\nhere={}\n{{ printf {name}; for word; do printf ' %s' \"$word\"; done; echo; }} >>\"$here/calls\"\n\
             for last; do :; done\n[ \"$1\" = run ] || exit 0\n{run}\n",
            self.path("bin").display()
        );
        let file = self.path("bin").join(name);
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn remove_engines(&self) {
        for file in ENGINES.iter().chain(&["calls"]) {
            let _ = fs::remove_file(self.path("bin").join(file));
        }
    }

    fn forget(&self) {
        let _ = fs::remove_dir_all(self.path("cache"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.args(["--plain-http", &self.registry.host()]);
        command.env("PATH", self.path("bin")).env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        outcome(&self.command(arguments).output().unwrap())
    }

    fn generate(&self, more: &[&str]) -> (i32, String, String) {
        self.run(&[&["generate", VERSION, "--inspect", "--registry", &self.registry.host()], more].concat())
    }

    /// How the engines were called, with `NAME` for the name of the container.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("bin/calls")).unwrap_or_default();
        let container = format!("imageset-inspection-{}-", &self.digest["sha256:".len()..][..12]);
        let word = |word: &str| match word.strip_prefix(&container) {
            Some(process) if process.parse::<u32>().is_ok() => "NAME".to_owned(),
            _ => word.to_owned(),
        };
        calls.lines().map(|call| call.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect()
    }

    /// The operator's image as it runs.
    fn image(&self) -> String {
        format!("{}/tigera/operator@{}", self.registry.host(), self.digest)
    }

    /// The same with a short digest, as messages have it.
    fn short(&self) -> String {
        self.image()[..self.image().len() - (64 - 12)].to_owned()
    }

    /// The call that runs it.
    fn call(&self, engine: &str, argument: &str) -> String {
        format!(
            "{engine} run --rm --name NAME --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user \
             65532:65532 --memory 512m --pids-limit 256 --entrypoint operator {} {argument}",
            self.image()
        )
    }

    fn kept(&self) -> PathBuf {
        self.path("cache/imageset-controller/inspections").join(self.digest.replace(':', "-"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_operator_runs_once_without_rights_and_its_set_is_made() {
    let machine = Machine::new().await;
    let host = machine.registry.host();
    let mut made = String::new();
    for engine in ENGINES {
        machine.engine(engine, PRINTS);
        let (code, stdout, stderr) = machine.generate(&[]);
        assert_eq!((code, stderr.lines().count()), (0, 1), "{stderr}");
        let note = format!("note: {engine} runs {} without network and rights", machine.short());
        assert_contains(&stderr, &[&note]);
        let calls = ["--version", "--print-images=list"].map(|argument| machine.call(engine, argument));
        assert_eq!(machine.calls(), calls);
        made = stdout;

        // What was printed is kept, for nobody else to read.
        let (code, again, stderr) = machine.generate(&[]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert_eq!((again, machine.calls().len()), (made.clone(), 2));
        let mode = fs::metadata(machine.kept()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        machine.remove_engines();
        machine.forget();
    }
    let (name, operator, entries) = sets(&made).remove(0);
    assert_eq!((name.as_str(), operator.as_str()), ("calico-v3.33.0", VERSION));
    assert_eq!(rules().strict_problems(Variant::Calico, &entries, Features::none()), Vec::<String>::new());
    assert_contains(&made, &[&format!("imageset-controller generate {VERSION} --inspect --registry {host}\n")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_that_needs_the_list_of_an_operator_can_run_it() {
    let machine = Machine::new().await;
    machine.engine("docker", PRINTS);
    let host = machine.registry.host();
    let image = format!("{host}/tigera/operator:{VERSION}");
    let named = format!("--inspect={image}");

    let (code, listed, _) = machine.run(&["images", &named]);
    assert_eq!(code, 0);
    let all: Vec<String> = listed.lines().map(str::to_owned).collect();
    assert!(rules().calico_references().iter().all(|reference| all.contains(reference)), "{listed}");
    assert!(all.contains(&format!("quay.io/tigera/operator:{VERSION}")), "{listed}");

    // By version from the registry of the flags, by image, and from a manifest; it ran for the first of them only.
    let (code, set, stderr) = machine.generate(&[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let (code, by_image, stderr) = machine.run(&["generate", &named, "--registry", &host]);
    assert_eq!((code, stderr.as_str(), sets(&by_image)), (0, "", sets(&set)));
    assert_contains(&by_image, &[&format!("imageset-controller generate {named} --registry {host}\n")]);
    let file = |name: &str, text: &str| {
        fs::write(machine.path(name), text).unwrap();
        machine.path(name).to_str().unwrap().to_owned()
    };
    for image in [&image, &format!("{host}/tigera/operator@{}", machine.digest)] {
        let manifest = file("operator.yaml", &crate::generate::manifest(image, ""));
        let (code, of_file, stderr) = machine.run(&["generate", "-f", &manifest, "--inspect", "--registry", &host]);
        assert_eq!((code, stderr.as_str(), sets(&of_file)), (0, "", sets(&set)));
        let (code, _, stderr) = machine.run(&["generate", "-f", &manifest, "--registry", &host]);
        assert_eq!(code, 2);
        assert_contains(&stderr, &["(OperatorVersionUnknown)", "--inspect"]);
    }

    let sets_file = file("imageset.yaml", &set);
    let (code, _, stderr) = machine.run(&["verify", &sets_file, "--registry", &host]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["does not have operator v1.44.0", "--inspect"]);
    let (code, verified, stderr) = machine.run(&["verify", &sets_file, "--registry", &host, "--inspect"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{verified}");
    assert_contains(&verified, &["for operator v1.44.0: ", "entries in sync"]);

    let bundle = ["bundle", VERSION, "--inspect", "--registry", &host, "--to", "mirror.example.com"];
    let (code, script, stderr) = machine.run(&bundle);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(
        &script,
        &["images of operator v1.44.0", "mirror.example.com/calico/calico:v3.33.0", &machine.image()],
    );
    assert_eq!(machine.calls().len(), 2);

    // Without a version there is nothing to run; with an image there is no other operator.
    for (arguments, words) in [
        (&["generate", "--inspect"][..], "no operator is named"),
        (&["images", "--inspect"], "no operator is named"),
        (&["generate", "v1.42.4", &named], "the image itself says its version"),
    ] {
        let (code, stdout, stderr) = machine.run(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert_contains(&stderr, &[words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_and_the_container_is_removed() {
    let machine = Machine::new().await;
    let (image, removal) = (machine.short(), "docker rm --force NAME".to_owned());
    let endless = "while :; do echo quay.io/calico/node:v3.33.0; done";
    let pulls = "echo 'Unable to find image locally' >&2; echo 'docker: Error response from daemon: manifest unknown.' >&2; \
                 echo \"Run 'docker run --help' for more information\" >&2; exit 125";
    let half = "[ \"$last\" = --version ] || { echo quay.io/calico/node:v3.33.0; exit 0; }\n";
    for (run, more, words) in [
        (
            "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 125",
            &[][..],
            &["ended with exit code 125: Cannot connect to the Docker daemon", "(InspectionFailed)", "docker pull"][..],
        ),
        (pulls, &[], &["Unable to find image locally; docker: Error response from daemon: manifest unknown."]),
        ("echo 'flag provided but not defined' >&2; exit 1", &[], &["exit code 1: flag provided but not defined"]),
        ("exit 127", &[], &["exit code 127: it wrote nothing"]),
        (
            endless,
            &[],
            &["was stopped: it prints more than the 256 KiB", "(InspectionOutputInvalid)", "--inspect=IMAGE"],
        ),
        (
            "exec /bin/sleep 600",
            &["--inspect-timeout", "1s"],
            &[
                "was stopped: docker did not pull it and run it to its end within 1s",
                "docker pull",
                "--inspect-timeout",
            ],
        ),
        (&format!("{half}{PRINTS}"), &[], &["does not have the operator's own image", "(InspectionOutputInvalid)"]),
        ("echo hello", &[], &["has no line `Operator: …`", "(InspectionOutputInvalid)"]),
    ] {
        machine.engine("docker", run);
        let (code, stdout, stderr) = machine.generate(more);
        assert_eq!((code, stdout.as_str()), (2, ""), "{run}");
        assert_contains(&stderr, &[&[image.as_str()], words].concat());
        assert!(!stderr.contains("--help") && !machine.path("cache").exists(), "{stderr}");
        let calls = machine.calls();
        // A container that ended well is gone by itself.
        let ended_well = stderr.contains("own image") || stderr.contains("has no line");
        assert_eq!(calls.contains(&removal), !ended_well, "{calls:?}");
        assert!(
            calls.iter().all(|call| *call == removal || call.starts_with("docker run --rm --name NAME ")),
            "{calls:?}"
        );
        machine.remove_engines();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_the_hint_is_what_to_type_elsewhere() {
    let machine = Machine::new().await;
    // A folder of that name is no engine.
    fs::create_dir(machine.path("bin/docker")).unwrap();
    let (code, stdout, stderr) = machine.generate(&[]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    let typed =
        format!("docker run --rm --network none --entrypoint operator {} --version > version.txt; ", machine.image());
    assert_contains(&stderr, &["none of docker, podman, nerdctl is in PATH", &typed, "--version-file version.txt"]);
    // Without the flag there is no word of an engine's failure, and the version is not called one that does not exist.
    let (code, _, stderr) = machine.run(&["generate", VERSION, "--registry", &machine.registry.host()]);
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["this build's catalogue does not have operator v1.44.0", "add --inspect", "--version-file"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_is_tried_where_one_does_not_work() {
    let machine = Machine::new().await;
    machine.engine("docker", "echo 'Is the docker daemon running?' >&2; exit 125");
    machine.engine("nerdctl", PRINTS);
    let (code, _, stderr) = machine.generate(&[]);
    assert_eq!((code, stderr.lines().count()), (0, 2), "{stderr}");
    let calls = [
        machine.call("docker", "--version"),
        "docker rm --force NAME".to_owned(),
        machine.call("nerdctl", "--version"),
        machine.call("nerdctl", "--print-images=list"),
    ];
    assert_eq!(machine.calls(), calls);

    // Where none works, each says why.
    machine.forget();
    machine.engine("nerdctl", "echo 'cannot access containerd socket' >&2; exit 1");
    let (code, _, stderr) = machine.generate(&[]);
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["error: docker run of", "daemon running?", "error: nerdctl run of", "containerd socket"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_read_again_as_if_it_were_printed() {
    let machine = Machine::new().await;
    machine.engine("podman", PRINTS);
    let made = machine.generate(&[]).1;
    for (file, text) in [
        ("images.txt", "quay.io/calico/node:v3.33.0\n".to_owned()),
        ("images.txt", rules().printed_list() + &"x\n".repeat(200 * 1024)),
        ("version.txt", "Operator: v1.45.0\nCalico: v3.33.0\nEnterprise: v3.24.0-1.0\n".to_owned()),
        ("version.txt", String::new()),
    ] {
        fs::write(machine.kept().join(file), text).unwrap();
        let before = machine.calls().len();
        let (code, again, _) = machine.generate(&[]);
        assert_eq!((code, &again, machine.calls().len()), (0, &made, before + 2), "{file}");
    }
    // A cache that cannot be written is no reason to fail.
    machine.forget();
    fs::write(machine.path("cache"), "").unwrap();
    let (code, again, stderr) = machine.generate(&[]);
    assert_eq!((code, again), (0, made));
    assert_contains(&stderr, &["is not kept for the next time"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_counts_as_its_base_and_another_version_as_nothing() {
    let machine = Machine::new().await;
    machine.engine("docker", PRINTS);
    let rebuilt = |by: &str| [rules().printed_version(), rules().printed_list()].map(|text| text.replace(VERSION, by));
    for printed in ["v1.44.0-0-g91d909b", "v1.44.0-dirty", "1.44.0"] {
        let [version, images] = rebuilt(printed);
        machine.prints(&version, &images);
        let (code, stdout, stderr) = machine.generate(&[]);
        assert_eq!((code, sets(&stdout)[0].1.as_str()), (0, VERSION), "{stderr}");
        assert_contains(
            &stderr,
            &[&format!("note: the operator prints the version {printed:?}, a rebuild; it is read as")],
        );
        machine.forget();
    }
    let [version, images] = rebuilt("v1.45.0");
    machine.prints(&version, &images);
    let (code, _, stderr) = machine.generate(&[]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["is labelled v1.44.0 and prints v1.45.0", "(OperatorVersionAmbiguous)"]);
}

/// Waits until an engine was called.
async fn until_called(machine: &Machine) {
    while machine.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_the_program_stops_the_container() {
    let machine = Machine::new().await;
    machine.engine("docker", "exec /bin/sleep 600");
    for signal in ["TERM", "INT"] {
        let host = machine.registry.host();
        let mut command = machine.command(&["generate", VERSION, "--inspect", "--registry", &host]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until_called(&machine).await;
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output: Output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let (code, stdout, stderr) = outcome(&output);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert_contains(&stderr, &["stopped while docker ran"]);
        assert_eq!(machine.calls(), [machine.call("docker", "--version"), "docker rm --force NAME".to_owned()]);
        fs::remove_file(machine.path("bin/calls")).unwrap();
    }
}
