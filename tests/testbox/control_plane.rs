//! A real Kubernetes API: etcd and kube-apiserver, on request with the controllers and the scheduler.
//!
//! Without controllers nothing is garbage-collected, namespaces are never finalized, no ServiceAccount named `default`
//! appears, and Deployments have no pods: the test writes what controllers would write. Pods need no ServiceAccount
//! then (that admission plugin is off).

use super::api_proxy::{ApiDelay, Endpoint};
use super::certificates::ServerCertificate;
use super::process::{Folders, Process, free_port, program, start_on_free_ports};
use super::slow_machine;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The admin's bearer token: good for this loopback apiserver and its lifetime only.
const ADMIN_TOKEN: &str = "testbox-admin";

/// The controllers that make, end and clean up after Jobs.
const FOR_JOBS: &str = "job-controller,ttl-after-finished-controller,garbage-collector-controller";

/// The one that takes away what an owner that is gone leaves behind.
const FOR_GARBAGE: &str = "garbage-collector-controller";
/// The controllers that roll Deployments and DaemonSets out.
const FOR_ROLL_OUTS: &str =
    "deployment-controller,replicaset-controller,daemonset-controller,garbage-collector-controller";

/// What to start; see [`ControlPlane::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    controllers: bool,
    jobs: bool,
    roll_outs: bool,
    scheduler: bool,
    apiserver_flags: Vec<String>,
    api_delay: Option<Duration>,
}

impl Builder {
    /// Delays each request of those who come with a kubeconfig, as a far-away API server does; by default as `TESTBOX_API_DELAY`
    /// says. [`ControlPlane::client`] and the controllers of Kubernetes are not delayed.
    #[must_use]
    pub fn api_delay(mut self, delay: Duration) -> Self {
        self.api_delay = Some(delay);
        self
    }

    /// Also runs kube-controller-manager (all controllers but those that would evict pods of nodes without a kubelet).
    #[must_use]
    pub fn controllers(mut self, on: bool) -> Self {
        self.controllers = on;
        self
    }

    /// Also runs those controllers of kube-controller-manager that Jobs need, and no others.
    #[must_use]
    pub fn jobs(mut self, on: bool) -> Self {
        self.jobs = on;
        self
    }

    /// Also runs those controllers of kube-controller-manager that roll Deployments and DaemonSets out. Their pods are for a
    /// [`super::Kubelet`].
    #[must_use]
    pub fn roll_outs(mut self, on: bool) -> Self {
        self.roll_outs = on;
        self
    }

    /// Also runs kube-scheduler.
    #[must_use]
    pub fn scheduler(mut self, on: bool) -> Self {
        self.scheduler = on;
        self
    }

    /// One more flag for kube-apiserver, such as `--audit-policy-file=...`.
    #[must_use]
    pub fn apiserver_flag(mut self, flag: impl Into<String>) -> Self {
        self.apiserver_flags.push(flag.into());
        self
    }

    /// Starts everything and returns when the API is ready and the namespace `default` exists.
    ///
    /// # Errors
    /// The binary can't be built, or a process did not get ready; the message has the end of its log.
    pub async fn start(self) -> Result<ControlPlane> {
        start_on_free_ports(|| self.start_once()).await
    }

    async fn start_once(&self) -> Result<ControlPlane> {
        let folders = Folders::create(&self.name)?;
        let (etcd, etcd_url) = start_etcd(&folders).await?;

        let certificate = ServerCertificate::create("testbox control plane")?;
        let port = free_port()?;
        let server = format!("https://127.0.0.1:{port}");
        let apiserver_arguments = self.apiserver_arguments(&folders, &certificate, &etcd_url, port)?;
        let mut kubeconfig = folders
            .write("kubeconfig", kubeconfig_text(&server, Some(&certificate.authority_pem), "admin", ADMIN_TOKEN))?;
        let client = client_of(&kubeconfig).await?;
        let apiserver = start_apiserver(&folders, &apiserver_arguments, &client).await?;

        let delay = match self.api_delay {
            Some(delay) => Some(delay),
            None => slow_machine::api_delay()?,
        };
        let direct = kubeconfig.clone();
        let mut endpoint = Endpoint { server, authority_pem: certificate.authority_pem };
        let mut proxy = None;
        if let Some(delay) = delay {
            let delayed = ApiDelay::start(&endpoint, delay).await?;
            endpoint = delayed.endpoint().clone();
            let text = kubeconfig_text(&endpoint.server, Some(&endpoint.authority_pem), "admin", ADMIN_TOKEN);
            kubeconfig = folders.write("kubeconfig-delayed", text)?;
            proxy = Some(delayed);
        }

        let mut control_plane = ControlPlane {
            children: vec![],
            apiserver,
            etcd,
            etcd_url,
            endpoint,
            _delay: proxy,
            apiserver_arguments,
            direct,
            kubeconfig,
            client,
            folders,
        };
        if self.controllers {
            control_plane.start_controllers("*,-node-lifecycle-controller,-node-ipam-controller").await?;
            control_plane.wait_for_controllers().await?;
        } else {
            let wanted = [(self.jobs, FOR_JOBS), (self.roll_outs, FOR_ROLL_OUTS)];
            let wanted: Vec<&str> = wanted.into_iter().filter(|(on, _)| *on).map(|(_, which)| which).collect();
            if !wanted.is_empty() {
                control_plane.start_controllers(&wanted.join(",")).await?;
            }
        }
        if self.scheduler {
            control_plane.start_scheduler().await?;
        }
        Ok(control_plane)
    }

    fn apiserver_arguments(
        &self,
        folders: &Folders,
        certificate: &ServerCertificate,
        etcd_url: &str,
        port: u16,
    ) -> Result<Vec<String>> {
        let file =
            |name: &str, content: &str| -> Result<String> { Ok(folders.write(name, content)?.display().to_string()) };
        let account_key = rcgen::KeyPair::generate()?;
        let mut arguments = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            // Both: with a loopback address only, it would look for another network interface, and there may be none.
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", folders.data.display()),
            format!("--tls-cert-file={}", file("apiserver.crt", &certificate.certificate_pem)?),
            format!("--tls-private-key-file={}", file("apiserver.key", &certificate.key_pem)?),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("accounts.pub", &account_key.public_key_pem())?),
            format!("--service-account-signing-key-file={}", file("accounts.key", &account_key.serialize_pem())?),
            format!(
                "--token-auth-file={}",
                file("tokens.csv", &format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?
            ),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--profiling=false".to_owned(),
        ];
        folders.write("authority.crt", &certificate.authority_pem)?;
        if !self.controllers {
            arguments.push("--disable-admission-plugins=ServiceAccount".to_owned());
        }
        arguments.extend(self.apiserver_flags.iter().cloned());
        Ok(arguments)
    }
}

/// A running control plane with a user `admin` (group system:masters). Everything is killed on drop.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: clients of the apiserver, the apiserver, etcd, the folders.
    children: Vec<Process>,
    apiserver: Process,
    etcd: Process,
    etcd_url: String,
    /// The apiserver, or the proxy in front of it.
    endpoint: Endpoint,
    _delay: Option<ApiDelay>,
    apiserver_arguments: Vec<String>,
    /// The admin's kubeconfig file that no delay holds for.
    direct: PathBuf,
    kubeconfig: PathBuf,
    client: DebugClient,
    folders: Folders,
}

impl ControlPlane {
    /// etcd and kube-apiserver on free loopback ports. `name` is for the log folder
    /// `target/testbox/logs/<name>-<pid>-<n>`.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn start(name: &str) -> Result<Self> {
        Self::builder(name).start().await
    }

    /// The same with choices.
    #[must_use]
    pub fn builder(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            controllers: false,
            jobs: false,
            roll_outs: false,
            scheduler: false,
            apiserver_flags: vec![],
            api_delay: None,
        }
    }

    /// The admin's client. Use it in the tokio runtime that started the control plane.
    pub fn client(&self) -> Client {
        self.client.0.clone()
    }

    /// The admin's kubeconfig file, for kubectl too. Removed on drop.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `https://127.0.0.1:PORT` of the apiserver, or of the delay in front of it.
    pub fn server(&self) -> &str {
        &self.endpoint.server
    }

    /// `http://127.0.0.1:PORT` of etcd.
    pub fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// Where the log files are.
    pub fn logs(&self) -> &Path {
        &self.folders.logs
    }

    /// The ids of all processes of this control plane.
    pub fn process_ids(&self) -> Vec<u32> {
        self.children.iter().chain([&self.apiserver, &self.etcd]).map(Process::id).collect()
    }

    /// A client with the rights of an existing ServiceAccount, and no others.
    ///
    /// # Errors
    /// The ServiceAccount does not exist.
    pub async fn client_for_service_account(&self, namespace: &str, name: &str) -> Result<Client> {
        let file = self.kubeconfig_for_service_account(namespace, name).await?;
        Ok(client_of(&file).await?.0)
    }

    /// A kubeconfig file with a token (for a day) of an existing ServiceAccount; its default namespace is the account's.
    /// Removed on drop.
    ///
    /// # Errors
    /// The ServiceAccount does not exist.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let response = accounts
            .create_token_request(name, &kube::api::PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for ServiceAccount {namespace}/{name}"))?;
        let token = response.status.context("a TokenRequest without status")?.token;
        let text = kubeconfig_text(&self.endpoint.server, Some(&self.endpoint.authority_pem), namespace, &token)
            .replace("namespace: default", &format!("namespace: {namespace}"));
        self.folders.write(&format!("kubeconfig-{namespace}-{name}"), text)
    }

    /// Kills the apiserver and starts it again on the same port; the data stays. Returns when it is ready.
    ///
    /// # Errors
    /// It did not get ready.
    pub async fn restart_apiserver(&mut self) -> Result<()> {
        self.stop_apiserver();
        self.start_apiserver_again().await
    }

    /// Kills the apiserver, to play an outage.
    pub fn stop_apiserver(&mut self) {
        self.apiserver.kill();
    }

    /// Starts the apiserver again after [`Self::stop_apiserver`].
    ///
    /// # Errors
    /// It did not get ready.
    pub async fn start_apiserver_again(&mut self) -> Result<()> {
        self.apiserver = start_apiserver(&self.folders, &self.apiserver_arguments, &self.client).await?;
        Ok(())
    }

    /// From now on what an owner that is gone leaves behind is taken away, unless controllers run that do it already. Best
    /// called when all kinds are defined: the collector finds later ones only every half minute.
    ///
    /// # Errors
    /// The binary can't be started.
    pub async fn collect_garbage(&mut self) -> Result<()> {
        self.start_controllers(FOR_GARBAGE).await
    }

    /// Kills all processes and removes the data; the same as dropping it.
    pub fn stop(self) {}

    async fn start_controllers(&mut self, which: &str) -> Result<()> {
        let mut command = program("kube-controller-manager").await?;
        command.args([
            format!("--kubeconfig={}", self.direct.display()),
            format!("--root-ca-file={}", self.folders.data.join("authority.crt").display()),
            format!("--service-account-private-key-file={}", self.folders.data.join("accounts.key").display()),
            format!("--controllers={which}"),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--profiling=false".to_owned(),
            // The default of 20 requests in a second is most of a rollout's time here.
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=500".to_owned(),
        ]);
        let log = self.folders.logs.join("kube-controller-manager.log");
        self.children.push(Process::spawn("kube-controller-manager", command, &log)?);
        Ok(())
    }

    async fn wait_for_controllers(&mut self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), "default");
        let Some(process) = self.children.last_mut() else { return Ok(()) };
        process.wait_until_ready(|| async { matches!(accounts.get_opt("default").await, Ok(Some(_))) }).await
    }

    async fn start_scheduler(&mut self) -> Result<()> {
        let mut command = program("kube-scheduler").await?;
        command.args([
            format!("--kubeconfig={}", self.direct.display()),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--profiling=false".to_owned(),
        ]);
        let log = self.folders.logs.join("kube-scheduler.log");
        self.children.push(Process::spawn("kube-scheduler", command, &log)?);
        Ok(())
    }
}

/// [`Client`] has no `Debug`.
struct DebugClient(Client);

impl std::fmt::Debug for DebugClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

async fn start_etcd(folders: &Folders) -> Result<(Process, String)> {
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = program("etcd").await?;
    command.args([
        format!("--data-dir={}", folders.data.join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        // One member elects itself; the default second is most of etcd's start. Each heartbeat costs processor time.
        "--heartbeat-interval=50".to_owned(),
        "--election-timeout=250".to_owned(),
        "--log-level=warn".to_owned(),
    ]);
    let mut process = Process::spawn("etcd", command, &folders.logs.join("etcd.log"))?;
    let http: HttpClient<HttpConnector, Empty<Bytes>> = HttpClient::builder(TokioExecutor::new()).build_http();
    let health: http::Uri = format!("{url}/health").parse()?;
    process
        .wait_until_ready(|| async {
            http.get(health.clone()).await.is_ok_and(|response| response.status().is_success())
        })
        .await?;
    Ok((process, url))
}

async fn start_apiserver(folders: &Folders, arguments: &[String], client: &DebugClient) -> Result<Process> {
    let mut command = program("kube-apiserver").await?;
    command.args(arguments);
    let mut process = Process::spawn("kube-apiserver", command, &folders.logs.join("kube-apiserver.log"))?;
    let namespaces: Api<Namespace> = Api::all(client.0.clone());
    process
        .wait_until_ready(|| async {
            let Ok(request) = http::Request::get("/readyz").body(vec![]) else {
                return false;
            };
            client.0.request_text(request).await.is_ok() && matches!(namespaces.get_opt("default").await, Ok(Some(_)))
        })
        .await?;
    Ok(process)
}

async fn client_of(kubeconfig: &Path) -> Result<DebugClient> {
    let config =
        Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    Ok(DebugClient(Client::try_from(config)?))
}

/// A kubeconfig of one user, for a server whose certificate this authority signed; without one the system's count.
pub fn kubeconfig_text(server: &str, authority_pem: Option<&str>, user: &str, token: &str) -> String {
    use base64::Engine as _;
    let authority = |pem| base64::engine::general_purpose::STANDARD.encode(pem);
    let authority =
        authority_pem.map_or_else(String::new, |pem| format!("    certificate-authority-data: {}\n", authority(pem)));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: testbox\n\
         clusters:\n- name: testbox\n  cluster:\n    server: {server}\n{authority}\
         users:\n- name: {user}\n  user:\n    token: {token}\n\
         contexts:\n- name: testbox\n  context:\n    cluster: testbox\n    user: {user}\n    namespace: default\n"
    )
}
