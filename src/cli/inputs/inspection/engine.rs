//! The container engines of a machine, which run an operator image once for each of its two outputs. The image is untrusted code: it runs
//! without network and rights, on a read-only file system, within limits, until a deadline. Its container is removed however it ends.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout};

use crate::api::Interval;
use crate::cli::output::{Failure, note};
use crate::cli::runtime::stop_signal;
use crate::inspection::job::{BINARY, CONTAINERS, USER};
use crate::inspection::output::LIMIT;
use crate::model::foreign_text::escaped_to;
use crate::model::{Digest, Reason, Reference};

/// The programs, in the order in which they are tried. All of them have the same flags for what is needed here.
const ENGINES: [&str; 3] = ["docker", "podman", "nerdctl"];
/// Exit code of docker and podman where they could not run a container at all.
const NOT_RUN: i32 = 125;
/// The most that an engine may write to standard error, in bytes: it reports the progress of a pull there.
const MAX_LOG: usize = 1024 * 1024;
/// How long the removal of a container may take.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(30);
/// How much of the end of what an engine wrote is quoted, in lines and in bytes.
const QUOTED: (usize, usize) = (2, 600);
/// The conventional exit code of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// What an operator image prints.
pub(super) struct Printed {
    /// With `--version`.
    pub version: String,
    /// With `--print-images=list`.
    pub images: String,
}

/// How a container ended that did not print what it was run for.
enum RunFailure {
    /// By itself, or the engine did not run it; with the end of what was written.
    Exited(ExitStatus, String),
    /// The program could not be started.
    NotStarted(std::io::Error),
    TooLong,
    TimedOut,
    Stopped,
}

/// The signals by which a person stops this program.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs an image, which has its digest, with the first engine that can.
///
/// # Errors
/// No engine is there, or none of them could run the image; or the image itself failed, printed too much, or did not end in time.
pub(super) async fn run(image: &Reference, digest: &Digest, limit: Interval) -> Result<Printed, Failure> {
    let engines = installed();
    if engines.is_empty() {
        return Err(none_found(image));
    }
    let stopped = |error: std::io::Error| Failure::new(format!("signals cannot be handled: {error}"));
    let mut stop: Stop = Box::pin(stop_signal().map_err(stopped)?);
    let deadline = Instant::now() + limit.duration();
    let mut failures = Vec::new();
    for program in &engines {
        let run = Run { program, image, digest, deadline };
        note(&format!(
            "note: {} runs {} without network and rights, to read which images it installs",
            run.engine(),
            image.short()
        ));
        match run.print_all(&mut stop).await {
            Ok(printed) => {
                end_process_at(stop);
                return Ok(printed);
            }
            Err(failed) => {
                failures.push(run.failure(&failed, limit));
                if !failed.may_succeed_elsewhere() {
                    break;
                }
            }
        }
    }
    Err(failures.into_iter().reduce(Failure::and).unwrap_or_else(|| none_found(image)))
}

/// Has the signals end the process from now on, as they do without a handler.
fn end_process_at(stop: Stop) {
    tokio::spawn(async move {
        stop.await;
        std::process::exit(INTERRUPTED)
    });
}

/// Returns the engines that are in PATH.
fn installed() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    let find = |name: &&str| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    ENGINES.iter().filter_map(find).collect()
}

fn none_found(image: &Reference) -> Failure {
    let output = |argument: &str, file: &str| {
        format!("docker run --rm --network none --entrypoint {BINARY} {image} {argument} > {file}")
    };
    let [version, images] = CONTAINERS.map(|(name, argument)| output(argument, &format!("{name}.txt")));
    Failure::new(format!("none of {} is in PATH to run {}", ENGINES.join(", "), image.short()))
        .reason(Reason::OperatorVersionUnknown)
        .hint(format!(
            "where one is: {version}; {images}; then give --version-file version.txt --images-file images.txt"
        ))
}

/// Both runs of one image by one engine.
struct Run<'a> {
    program: &'a Path,
    image: &'a Reference,
    digest: &'a Digest,
    deadline: Instant,
}

impl Run<'_> {
    fn engine(&self) -> std::borrow::Cow<'_, str> {
        self.program.file_name().unwrap_or_default().to_string_lossy()
    }

    async fn print_all(&self, stop: &mut Stop) -> Result<Printed, RunFailure> {
        let [(_, version), (_, images)] = CONTAINERS;
        Ok(Printed { version: self.print(version, stop).await?, images: self.print(images, stop).await? })
    }

    /// Returns the name of the container. It is the same for all runs of this process, one of which runs at a time.
    fn container(&self) -> String {
        let digest = self.digest.to_string();
        let short: String = digest.chars().skip("sha256:".len()).take(12).collect();
        format!("imageset-inspection-{short}-{}", std::process::id())
    }

    /// Returns the arguments of the engine, for one argument of the operator.
    fn arguments(&self, argument: &str) -> Vec<String> {
        let (container, user, image) = (self.container(), format!("{USER}:{USER}"), self.image.to_string());
        let limits = ["--memory", "512m", "--pids-limit", "256"];
        let rights = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", &user];
        let place = ["--network", "none", "--read-only"];
        let words = [
            &["run", "--rm", "--name", &container][..],
            &place,
            &rights,
            &limits,
            &["--entrypoint", BINARY, &image, argument],
        ];
        words.concat().into_iter().map(str::to_owned).collect()
    }

    /// Runs the operator with one argument. Its container is gone afterwards.
    async fn print(&self, argument: &str, stop: &mut Stop) -> Result<String, RunFailure> {
        let mut command = Command::new(self.program);
        command.args(self.arguments(argument)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(RunFailure::NotStarted)?;
        let ended = tokio::select! {
            ended = output(&mut child) => ended,
            () = sleep_until(self.deadline) => Err(RunFailure::TimedOut),
            () = &mut *stop => Err(RunFailure::Stopped),
        };
        if ended.is_err() {
            // The container does not end with the program that started it.
            let _ = child.kill().await;
            self.remove().await;
        }
        ended
    }

    /// Removes the container, if there still is one.
    async fn remove(&self) {
        let mut command = Command::new(self.program);
        command
            .args(["rm", "--force", &self.container()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let removed = timeout(REMOVAL_DEADLINE, command.kill_on_drop(true).status()).await;
        if !matches!(removed, Ok(Ok(_))) {
            let (engine, container) = (self.engine(), self.container());
            note(&format!(
                "warning: the container {container} may still be there; remove it: {engine} rm --force {container}"
            ));
        }
    }

    fn failure(&self, failed: &RunFailure, limit: Interval) -> Failure {
        let (engine, image, short) = (self.engine(), self.image, self.image.short());
        let (reason, what, hint) = match failed {
            RunFailure::Exited(status, said) => (
                Reason::InspectionFailed,
                format!("{engine} run of {short} ended with {}: {said}", describe(*status)),
                format!("see that {engine} works and that it may pull the image: {engine} pull {image}"),
            ),
            RunFailure::NotStarted(error) => (
                Reason::InspectionFailed,
                format!("{} cannot be run: {error}", self.program.display()),
                format!("see that {engine} works"),
            ),
            RunFailure::TooLong => (
                Reason::InspectionOutputInvalid,
                format!(
                    "{short} was stopped: it prints more than the {} KiB that an operator prints at most",
                    LIMIT / 1024
                ),
                "name the image of the operator itself: --inspect=IMAGE".to_owned(),
            ),
            RunFailure::TimedOut => (
                Reason::InspectionFailed,
                format!("{short} was stopped: {engine} did not pull it and run it to its end within {limit}"),
                format!("pull it first: {engine} pull {image}; or give more time with --inspect-timeout"),
            ),
            RunFailure::Stopped => {
                (Reason::InspectionFailed, format!("stopped while {engine} ran {short}"), "run it again".to_owned())
            }
        };
        Failure::new(what).reason(reason).hint(hint)
    }
}

impl RunFailure {
    /// Whether it is the engine that failed, so that another one may do.
    fn may_succeed_elsewhere(&self) -> bool {
        match self {
            Self::Exited(status, _) => status.code() == Some(NOT_RUN),
            Self::NotStarted(_) => true,
            Self::TooLong | Self::TimedOut | Self::Stopped => false,
        }
    }
}

/// Returns what a program writes to standard output, once it has ended well.
async fn output(child: &mut Child) -> Result<String, RunFailure> {
    let (printed, log) =
        tokio::try_join!(read_within(LIMIT, child.stdout.take()), read_within(MAX_LOG, child.stderr.take()),)?;
    let status = child.wait().await.map_err(RunFailure::NotStarted)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match status.success() {
        true => Ok(text(&printed)),
        false => Err(RunFailure::Exited(status, last_lines(&format!("{}\n{}", text(&printed), text(&log))))),
    }
}

/// Reads a stream to its end.
///
/// # Errors
/// It has more than `most` bytes; no more than that is read.
async fn read_within(most: usize, stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, RunFailure> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        stream.take(bound).read_to_end(&mut bytes).await.map_err(RunFailure::NotStarted)?;
    }
    if bytes.len() > most { Err(RunFailure::TooLong) } else { Ok(bytes) }
}

/// Returns the last lines as one quote, without those that only point to the engine's help.
fn last_lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("--help"));
    let mut last: Vec<&str> = lines.rev().take(QUOTED.0).collect();
    last.reverse();
    match last.is_empty() {
        true => "it wrote nothing".to_owned(),
        false => escaped_to(&last.join("; "), QUOTED.1),
    }
}

fn describe(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}
