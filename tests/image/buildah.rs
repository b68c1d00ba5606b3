//! Debian's `buildah` with a store of its own: builds, pushes and runs without an engine.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::testbox::certificates::ServerCertificate;
use crate::{REVISION, SOURCE, root};

/// The tool, and the store that it keeps images in.
pub struct Buildah {
    tools: PathBuf,
    store: TempDir,
}

impl Buildah {
    /// None, loudly, where it can't be had.
    pub fn find() -> Option<Self> {
        let output = script("tests/image/tools.sh").output().unwrap();
        if output.status.code() == Some(4) {
            // Not a print, which would be shown for a failing test only.
            let shown = String::from_utf8_lossy(&output.stderr).into_owned();
            let mut terminal = std::io::stderr();
            writeln!(terminal, "{shown}SKIPPED: the image is neither built nor run, for want of buildah").unwrap();
            return None;
        }
        let store = TempDir::new().unwrap();
        let at = |name: &str| store.path().join(name).display().to_string();
        let (graph, run) = (at("graph"), at("run"));
        let configuration = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{graph}\"\nrunroot = \"{run}\"\n");
        fs::write(store.path().join("storage.conf"), configuration).unwrap();
        // What Debian's has too: it is not the signatures that are looked at here.
        fs::write(store.path().join("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
        Some(Self { tools: printed(&output), store })
    }

    /// As `make image` does, and pushes it.
    pub fn build(&self, input: &Input, image: &str, epoch: i64) {
        let mut command = script("deploy/image/build.sh");
        self.own(&mut command);
        let path = format!("{}:{}", self.tools.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("ENGINE", "buildah").env("FOLDER", input.folder.path()).env("IMAGE", image);
        command.env("SOURCE_DATE_EPOCH", epoch.to_string()).env("REVISION", REVISION).env("SOURCE", SOURCE);
        let policy = self.store.path().join("policy.json");
        let flags = format!("--tls-verify=false --signature-policy={}", policy.display());
        command.env("PUSH", "1").env("PUSH_FLAGS", flags);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A container of the image, that is not running.
    pub fn container(&self, image: &str) -> String {
        let policy = self.store.path().join("policy.json");
        let flag = format!("--signature-policy={}", policy.display());
        let output = self.command(&["from", "--pull-never", &flag, image]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a command in the container, as the image's user; whether it ended well, and all that it said.
    pub fn run(&self, container: &str, arguments: &[&str]) -> (bool, String) {
        let output = self.command(&[&["run", "--isolation", "chroot", container, "--"], arguments].concat()).output();
        let Output { status, stdout, stderr } = output.unwrap();
        (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.tools.join("buildah"));
        self.own(&mut command);
        command.args(arguments);
        command
    }

    /// Nothing of this machine's images and settings, and no rights that a container of ours does not have either.
    fn own(&self, command: &mut Command) {
        command.env("CONTAINERS_STORAGE_CONF", self.store.path().join("storage.conf"));
        command.env("BUILDAH_ISOLATION", "chroot").env("STORAGE_DRIVER", "vfs").env("HOME", self.store.path());
        command.env("XDG_RUNTIME_DIR", self.store.path()).env_remove("METADATA").env_remove("PLATFORM");
    }
}

fn script(name: &str) -> Command {
    let mut command = Command::new(root().join(name));
    command.current_dir(root());
    command
}

/// The path that a script has printed.
fn printed(output: &Output) -> PathBuf {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout.clone()).unwrap().trim())
}

/// The folder that takes the place of the first stage.
pub struct Input {
    folder: TempDir,
}

impl Input {
    /// With a static binary, the list of its parts and a made-up authority.
    pub fn make() -> Self {
        let made = printed(&script("tests/image/static.sh").output().unwrap());
        let authority = ServerCertificate::create("an authority").unwrap().authority_pem;
        let input = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(input.folder.path().join("out")).unwrap();
        for name in ["imageset-controller", "imageset-controller.cdx.json"] {
            fs::copy(made.join("out").join(name), input.file(name)).unwrap();
        }
        fs::write(input.file("ca-certificates.crt"), authority).unwrap();
        input
    }

    /// The same files, made at another time, in another order.
    pub fn copy(&self) -> Self {
        let copy = Self { folder: TempDir::new().unwrap() };
        fs::create_dir(copy.folder.path().join("out")).unwrap();
        for name in ["imageset-controller.cdx.json", "ca-certificates.crt", "imageset-controller"] {
            fs::copy(self.file(name), copy.file(name)).unwrap();
            let file = fs::File::options().write(true).open(copy.file(name)).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))
                .unwrap();
        }
        copy
    }

    /// One byte more.
    pub fn change_the_binary(&self) {
        let mut file = fs::File::options().append(true).open(self.file("imageset-controller")).unwrap();
        file.write_all(b"\n").unwrap();
    }

    /// Where a file of it is.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join("out").join(name)
    }
}
