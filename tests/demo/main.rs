//! The demo: the main job of imageset-controller as a story, on a real control plane and a real registry. What a
//! stranger sees first. Every ✓ is checked on the cluster, its recorded revisions, or what the registry and the
//! double noted; the first that does not hold ends the demo with exit code 1.
#![allow(clippy::print_stdout)]

#[path = "../testbox/mod.rs"]
mod testbox;

mod cluster;
mod first_install;
mod narrator;
mod opening;
mod problems;
mod upgrades;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use cluster::Cluster;
use narrator::Narrator;
use testbox::Mirror;

/// Everything that the chapters share.
struct Story {
    narrator: Narrator,
    mirror: Mirror,
    cluster: Cluster,
    /// The second cluster, while its chapter lasts.
    fresh: Option<Cluster>,
    /// The product.
    binary: PathBuf,
}

/// Longer than all waits of a chapter should ever take together.
const CHAPTER_WITHIN: Duration = Duration::from_secs(900);

/// How it came out.
enum Ending {
    Ended(ExitCode),
    /// `KEEP=1`: it runs until it is interrupted.
    Kept(Box<Story>),
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("the demo cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            _ => return ExitCode::FAILURE,
        };
        // Whatever is dropped with the story ends its processes.
        let ending = tokio::select! {
            ending = run_demo() => ending,
            () = either(&mut interrupt, &mut terminate) => {
                println!("\nInterrupted; everything that was started has ended.");
                Ending::Ended(ExitCode::from(130))
            }
        };
        match ending {
            Ending::Ended(code) => code,
            Ending::Kept(story) => {
                either(&mut interrupt, &mut terminate).await;
                drop(story);
                ExitCode::SUCCESS
            }
        }
    });
    runtime.shutdown_background();
    code
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn run_demo() -> Ending {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let narrator = Narrator::new();
    narrator.title(
        "imageset-controller: a demo on a real etcd, kube-apiserver and image registry",
        "Lines with $ are what you would type (the demo makes the same calls itself). A double plays the \
         tigera-operator by the rules of each release. Each ✓ was checked on the cluster, on its recorded revisions, \
         or on what the registry and the double noted.",
    );
    let mut narrator = narrator;
    let opened = narrator::within("the whole chapter", CHAPTER_WITHIN, opening::a_cluster(&mut narrator)).await;
    let (mirror, cluster) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            narrator.fails(&error, &[], &[testbox::process::box_folder().join("logs")]);
            return Ending::Ended(ExitCode::FAILURE);
        }
    };
    let mut story = match product() {
        Ok(binary) => Story { narrator, mirror, cluster, fresh: None, binary },
        Err(error) => {
            narrator.fails(&error, &[], &[]);
            return Ending::Ended(ExitCode::FAILURE);
        }
    };
    if let Err(error) = chapters(&mut story).await {
        let cluster = story.fresh.as_ref().unwrap_or(&story.cluster);
        let last_words = cluster.last_words().await;
        story.narrator.fails(&error, &last_words, &[cluster.logs(), story.mirror.registry.logs().to_owned()]);
        return Ending::Ended(ExitCode::FAILURE);
    }
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        how_to_look_around(&story);
        return Ending::Kept(Box::new(story));
    }
    Ending::Ended(end(story))
}

async fn chapters(story: &mut Story) -> Result<()> {
    chapter(opening::observe(story)).await?;
    chapter(opening::apply(story)).await?;
    chapter(upgrades::in_time(story)).await?;
    chapter(upgrades::held(story)).await?;
    chapter(upgrades::no_time(story)).await?;
    chapter(upgrades::rollback(story)).await?;
    chapter(first_install::from_nothing(story)).await?;
    chapter(problems::clear_words(story)).await?;
    chapter(problems::verdict(story)).await?;
    chapter(problems::screen(story)).await
}

/// What is not waited for step by step has a limit as well.
async fn chapter(work: impl Future<Output = Result<()>>) -> Result<()> {
    narrator::within("the whole chapter", CHAPTER_WITHIN, work).await
}

/// Built next to this program by `make demo`.
fn product() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let folder = own.parent().and_then(Path::parent).context("this program is in no folder")?;
    let binary = folder.join("imageset-controller");
    anyhow::ensure!(binary.is_file(), "{} is not built; use `make demo`", binary.display());
    Ok(binary)
}

/// Ends every process, and checks that they are gone.
fn end(story: Story) -> ExitCode {
    let Story { mut narrator, mirror, cluster, .. } = story;
    let logs = cluster.logs();
    let ids: Vec<u32> = cluster.process_ids().into_iter().chain(mirror.registry.process_id()).collect();
    drop((cluster, mirror));
    let left: Vec<u32> = ids.iter().copied().filter(|id| Path::new(&format!("/proc/{id}")).exists()).collect();
    let promise = format!("the {} processes of the demo have ended", ids.len());
    if let Err(error) = narrator.check(left.is_empty(), &promise, "none of them left", &left) {
        narrator.fails(&error, &[], &[logs]);
        return ExitCode::FAILURE;
    }
    narrator.ends();
    ExitCode::SUCCESS
}

/// What to do with a cluster that goes on.
fn how_to_look_around(story: &Story) {
    story.narrator.ends();
    story.narrator.line("\nKEEP: the cluster, the controller and the operator's double go on. In another terminal:\n");
    story.narrator.line(&format!("  export KUBECONFIG={}", story.cluster.control_plane.kubeconfig().display()));
    story.narrator.line("  kubectl get imagesetpolicy,imageset,tigerastatus");
    story.narrator.line(&format!("  {} status", story.binary.display()));
    story.narrator.line("\nCtrl-C ends everything and removes its data.");
}
