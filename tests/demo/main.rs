//! The demo: the main job of imageset-controller as a story, on a real control plane and a real registry. What a
//! stranger sees first. Every ✓ is checked on the cluster, its recorded revisions, or what the registry and the
//! double noted; the first that does not hold ends the demo with exit code 1.
#![allow(clippy::print_stdout)]

#[path = "../testbox/mod.rs"]
mod testbox;

mod cluster;
mod first_install;
mod opening;
mod teller;
mod trouble;
mod upgrades;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use cluster::Cluster;
use teller::Teller;
use testbox::Mirror;

/// Everything that the chapters share.
struct Story {
    tell: Teller,
    mirror: Mirror,
    cluster: Cluster,
    /// The product.
    binary: PathBuf,
}

/// How it came out.
enum Told {
    Ended(ExitCode),
    /// `KEEP=1`: it goes on until somebody has seen enough.
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
        let told = tokio::select! {
            told = tell_all() => told,
            () = either(&mut interrupt, &mut terminate) => {
                println!("\nInterrupted; everything that was started has ended.");
                Told::Ended(ExitCode::from(130))
            }
        };
        match told {
            Told::Ended(code) => code,
            Told::Kept(story) => {
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

async fn tell_all() -> Told {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tell = Teller::new();
    tell.title(
        "imageset-controller: a demo on a real etcd, kube-apiserver and image registry",
        "Lines with $ are what you would type (the demo makes the same calls itself). A double plays the \
         tigera-operator by the rules of each release. Each ✓ was checked on the cluster, on its recorded revisions, \
         or on what the registry and the double noted.",
    );
    let mut tell = tell;
    let opened = opening::a_cluster(&mut tell).await;
    let (mirror, cluster) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tell.fails(&error, &[testbox::process::box_folder().join("logs")]);
            return Told::Ended(ExitCode::FAILURE);
        }
    };
    let mut story = match product() {
        Ok(binary) => Story { tell, mirror, cluster, binary },
        Err(error) => {
            tell.fails(&error, &[]);
            return Told::Ended(ExitCode::FAILURE);
        }
    };
    if let Err(error) = chapters(&mut story).await {
        story.tell.fails(&error, &[story.cluster.logs(), story.mirror.registry.logs().to_owned()]);
        return Told::Ended(ExitCode::FAILURE);
    }
    if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        how_to_look_around(&story);
        return Told::Kept(Box::new(story));
    }
    Told::Ended(end(story))
}

async fn chapters(story: &mut Story) -> Result<()> {
    opening::observe(story).await?;
    opening::apply(story).await?;
    upgrades::in_time(story).await?;
    upgrades::held(story).await?;
    upgrades::no_time(story).await?;
    upgrades::rollback(story).await?;
    first_install::from_nothing(story).await?;
    trouble::clear_words(story).await?;
    trouble::verdict(story).await?;
    trouble::screen(story).await
}

/// Built next to this program by `make demo`.
fn product() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let folder = own.parent().and_then(Path::parent).context("this program is in no folder")?;
    let binary = folder.join("imageset-controller");
    anyhow::ensure!(binary.is_file(), "{} is not built; use `make demo`", binary.display());
    Ok(binary)
}

/// Ends every process, and looks whether they are gone.
fn end(story: Story) -> ExitCode {
    let Story { mut tell, mirror, cluster, .. } = story;
    let logs = cluster.logs();
    let ids: Vec<u32> = cluster.process_ids().into_iter().chain(mirror.registry.process_id()).collect();
    drop((cluster, mirror));
    let left: Vec<u32> = ids.iter().copied().filter(|id| Path::new(&format!("/proc/{id}")).exists()).collect();
    let promise = format!("the {} processes of the demo have ended", ids.len());
    if let Err(error) = tell.check(left.is_empty(), &promise, "none of them left", &left) {
        tell.fails(&error, &[logs]);
        return ExitCode::FAILURE;
    }
    tell.ends();
    ExitCode::SUCCESS
}

/// What to do with a cluster that goes on.
fn how_to_look_around(story: &Story) {
    story.tell.ends();
    story.tell.line("\nKEEP: the cluster, the controller and the operator's double go on. In another terminal:\n");
    story.tell.line(&format!("  export KUBECONFIG={}", story.cluster.control_plane.kubeconfig().display()));
    story.tell.line("  kubectl get imagesetpolicy,imageset,tigerastatus");
    story.tell.line(&format!("  {} status", story.binary.display()));
    story.tell.line("\nCtrl-C ends everything and removes its data.");
}
