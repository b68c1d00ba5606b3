//! `make bench`: measures the release binary that it is given against the product's limits and prints `BENCH name value limit unit`; exit
//! code 1 if a limit is passed. With a word behind the binary only one part: `pods` what pods at scale take, `reaction` how it reacts and idles,
//! `hostile` what it takes while a registry does its worst, `foreign` while strangers in the cluster do, `slow-api` how it fares with a
//! slow API server. Real parts (the box), no timed assertion anywhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod far_cloud;
mod far_registry;
mod foreign;
mod front;
mod generate;
mod go_controller;
mod hostile;
mod latency;
mod memory;
mod others;
mod pods;
mod proxy;
mod quiet;
mod reaction;
mod reported;
mod round_trips;
mod slow_api;
mod start;
mod statistics;

#[path = "../testbox/mod.rs"]
mod testbox;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use far_registry::FarRegistry;

/// One measured value.
pub struct Measured {
    name: &'static str,
    value: f64,
    /// The most that it may be; none for what is there to compare with.
    limit: Option<f64>,
    unit: &'static str,
}

impl Measured {
    fn limited(name: &'static str, value: f64, limit: f64, unit: &'static str) -> Self {
        Self { name, value, limit: Some(limit), unit }
    }

    fn beside(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, limit: None, unit }
    }

    /// A value that is no number is over every limit.
    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.value.is_nan() || self.value > limit)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(binary) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("name the release binary; `make bench` builds it and does so");
        return ExitCode::from(2);
    };
    let part = std::env::args().nth(2);
    if let ("peer-store", Some(kubeconfig)) = (binary.to_str().unwrap_or_default(), &part) {
        pods::peer::keep_all(kubeconfig).await.unwrap();
        return ExitCode::SUCCESS;
    }
    let file = std::fs::metadata(&binary).unwrap();
    let mut measured = vec![Measured::limited("release_binary", file.len() as f64 / 1e6, 16.0, "MB")];
    if part.as_deref() == Some("cloud") {
        measured.extend(far_cloud::measure().await.unwrap());
    } else if part.as_deref() == Some("slow-api") {
        measured.extend(slow_api::measure(&binary).await.unwrap());
    } else if part.as_deref() == Some("foreign") {
        measured.extend(foreign::measure(&binary).await.unwrap());
    } else if part.as_deref() == Some("reaction") {
        measured.extend(reaction::measure(&binary).await.unwrap());
    } else if part.as_deref() == Some("hostile") {
        measured.extend(hostile::measure(&binary).await.unwrap());
    } else if part.as_deref() != Some("pods") {
        measured.extend(all_but_pods(&binary).await.unwrap());
    }
    if !matches!(part.as_deref(), Some("reaction" | "hostile" | "foreign" | "slow-api" | "cloud")) {
        measured.extend(pods::measure(&binary).await.unwrap());
    }
    for Measured { name, value, limit, unit } in &measured {
        let limit = limit.map_or("-".to_owned(), |limit| limit.to_string());
        println!("BENCH {name} {value:.2} {limit} {unit}");
    }
    let over: Vec<&str> = measured.iter().filter(|one| one.is_over()).map(|one| one.name).collect();
    if over.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("over the limit: {}", over.join(", "));
    ExitCode::FAILURE
}

async fn all_but_pods(binary: &Path) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    let far = FarRegistry::start().await?;
    measured.extend(round_trips::measure(&far).await?);
    measured.extend(others::measure(&far).await?);
    measured.extend(generate::measure(binary, &far).await?);
    drop(far);
    measured.extend(far_cloud::measure().await?);
    measured.extend(hostile::measure(binary).await?);
    measured.extend(foreign::measure(binary).await?);
    measured.extend(reaction::measure(binary).await?);
    measured.extend(start::measure(binary).await?);
    measured.extend(slow_api::measure(binary).await?);
    Ok(measured)
}
