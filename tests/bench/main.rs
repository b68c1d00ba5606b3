//! `make bench`: measures the release binary that it is given against the product's limits and prints `BENCH name value limit unit`; exit
//! code 1 if a limit is passed. Real parts (the box), no timed assertion anywhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod proxy;
mod reaction;

#[path = "../testbox/mod.rs"]
mod testbox;

use std::path::PathBuf;
use std::process::ExitCode;

/// One measured value.
pub struct Measured {
    name: &'static str,
    value: f64,
    /// The most that it may be.
    limit: f64,
    unit: &'static str,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(binary) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("name the release binary; `make bench` builds it and does so");
        return ExitCode::from(2);
    };
    let file = std::fs::metadata(&binary).unwrap();
    let megabytes = file.len() as f64 / 1e6;
    let mut measured = vec![Measured { name: "release_binary", value: megabytes, limit: 12.0, unit: "MB" }];
    measured.extend(reaction::measure(&binary).await.unwrap());
    for one in &measured {
        println!("BENCH {} {:.1} {} {}", one.name, one.value, one.limit, one.unit);
    }
    let over: Vec<&str> = measured.iter().filter(|one| one.value > one.limit).map(|one| one.name).collect();
    if over.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("over the limit: {}", over.join(", "));
    ExitCode::FAILURE
}
