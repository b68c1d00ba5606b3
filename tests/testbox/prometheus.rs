//! A real Prometheus that scrapes controllers, with the alerts of `deploy/monitoring/rules.yaml`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::controller::{Controller, UNDER_WATCH, get};
use super::process::{Folders, Process, free_port, prometheus_folder, start_on_free_ports};

/// Scrapes and judges every second; killed on drop, with its data.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    port: u16,
    targets: PathBuf,
    _folders: Folders,
}

impl Prometheus {
    /// Starts with these rules and nothing to scrape.
    ///
    /// # Errors
    /// There is no Prometheus and none can be fetched, or it does not start; the message has the end of its log.
    pub async fn start(rules: &str) -> Result<Self> {
        start_on_free_ports(|| Self::start_once(rules)).await
    }

    async fn start_once(rules: &str) -> Result<Self> {
        let program = prometheus_folder().await?.join("prometheus");
        let folders = Folders::create("prometheus")?;
        let port = free_port()?;
        let rules = folders.write("rules.yaml", rules)?;
        let targets = folders.data.join("targets.json");
        std::fs::write(&targets, "[]")?;
        let configuration = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": "imageset-controller",
                "file_sd_configs": [{ "files": [targets], "refresh_interval": "1s" }],
            }],
        });
        let configuration = folders.write("prometheus.yaml", configuration.to_string())?;
        let mut command = Command::new("sh");
        command.args(["-c", UNDER_WATCH]).arg(program);
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", folders.data.join("contents").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = Process::spawn("prometheus", command, &folders.logs.join("prometheus.log"))?;
        process.wait_until_ready(|| async move { matches!(get(port, "/-/ready").await, Ok((200, _))) }).await?;
        Ok(Self { _process: process, port, targets, _folders: folders })
    }

    /// Has these controllers scraped, and no others.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn scrape(&self, controllers: &[&Controller]) -> Result<()> {
        let targets: Vec<String> = controllers.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        // Renamed into its place: it is read at any moment.
        let new = self.targets.with_extension("new");
        std::fs::write(&new, json!([{ "targets": targets }]).to_string())?;
        Ok(std::fs::rename(new, &self.targets)?)
    }

    /// How many series a query finds now.
    ///
    /// # Errors
    /// It is no query, or Prometheus does not answer.
    pub async fn found(&self, query: &str) -> Result<usize> {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let data = self.data(&format!("/api/v1/query?query={query}")).await?;
        Ok(data["result"].as_array().context("no result")?.len())
    }

    /// Names of the alerts that fire.
    ///
    /// # Errors
    /// Prometheus does not answer.
    pub async fn firing(&self) -> Result<BTreeSet<String>> {
        let data = self.data("/api/v1/alerts").await?;
        let alerts = data["alerts"].as_array().context("no alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.filter_map(|alert| alert["labels"]["alertname"].as_str()).map(str::to_owned).collect())
    }

    async fn data(&self, path: &str) -> Result<Value> {
        let (status, body) = get(self.port, path).await?;
        let response: Value = serde_json::from_str(&body).with_context(|| format!("{status}: {body}"))?;
        if response["status"] != "success" {
            bail!("{path}: {body}");
        }
        Ok(response["data"].clone())
    }
}
