//! How real registries require credentials: each file under `transcripts/` is played against the client, which must send the requests
//! of the transcript, in that order and with its credentials for each host, and end with the digest.

use std::collections::BTreeMap;
use std::path::Path;

use imageset_controller::model::{Digest, Reference};
use imageset_controller::registry::{Access, DockerConfig};
use serde_json::json;

use crate::server::{Reply, Seen, Server};
use crate::{CANARY, USER, basic, look_up, patient, plain, received_secret};

type Pairs = Vec<(String, String)>;

/// A file.
struct Transcript {
    credentials: String,
    exchanges: Vec<Exchange>,
}

/// A request that the client must send, and the response.
struct Exchange {
    request: SentRequest,
    host: String,
    authorization: Option<String>,
    shows_secret: bool,
    status: u16,
    headers: Pairs,
    body: String,
}

/// The compared parts of a request.
#[derive(Debug, PartialEq)]
struct SentRequest {
    method: String,
    path: String,
    query: Pairs,
    scheme: Option<String>,
    form: Pairs,
}

fn pairs(text: &str) -> Pairs {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// `Name: value` lines.
fn headers(text: &str) -> Pairs {
    let pair = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("not a header: {line}"));
        (name.to_lowercase(), value.to_owned())
    };
    text.lines().map(pair).collect()
}

impl Exchange {
    fn parse(text: &str) -> Self {
        let (request, response) = text.trim().split_once("\n\nHTTP/1.1 ").expect("a request and an answer");
        let (head, form) = request.split_once("\n\n").unwrap_or((request, ""));
        let (line, lines) = head.split_once('\n').expect("a request line and headers");
        let (method, target) = line.split_once(' ').expect("a method and a path");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut of_request: BTreeMap<String, String> = headers(lines).into_iter().collect();
        let authorization = of_request.remove("authorization").map(|text| match text.as_str() {
            "Basic {{secret}}" => basic(),
            _ => text,
        });
        let (head, body) = response.split_once("\n\n").unwrap_or((response, ""));
        let (status, lines) = head.split_once('\n').expect("a status line and headers");
        Self {
            host: of_request.remove("host").expect("a host"),
            shows_secret: request.contains("{{secret}}"),
            request: SentRequest {
                method: method.to_owned(),
                path: path.to_owned(),
                query: pairs(query),
                scheme: authorization.as_deref().map(|text| text.split(' ').next().unwrap().to_owned()),
                form: pairs(form)
                    .into_iter()
                    .map(|(name, value)| (name, value.replace("{{secret}}", CANARY)))
                    .collect(),
            },
            authorization,
            status: status.split(' ').next().unwrap().parse().expect("a status"),
            headers: headers(lines),
            body: body.to_owned(),
        }
    }

    /// The answer, with the hosts of the transcript in the place of real ones.
    fn reply(&self, servers: &BTreeMap<String, Server>) -> Reply {
        let mut reply = Reply::bare(self.status, self.body.clone());
        for (name, value) in &self.headers {
            let mut value = value.clone();
            for (host, server) in servers {
                for scheme in ["https", "http"] {
                    value = value.replace(&format!("{scheme}://{host}"), &server.url(""));
                }
            }
            reply = reply.with(name, &value);
        }
        reply
    }
}

impl Transcript {
    fn parse(text: &str) -> Self {
        let (comments, exchanges) = text.split_once("\n\n").expect("comments, then exchanges");
        assert!(comments.lines().all(|line| line.starts_with("# ")), "comments first");
        assert!(comments.contains("\n# Source: https://"), "it names no public source");
        let credentials = comments.lines().find_map(|line| line.strip_prefix("# Credentials: ")).expect("credentials");
        Self {
            credentials: credentials.to_owned(),
            exchanges: exchanges.split("\n###\n").map(Exchange::parse).collect(),
        }
    }

    /// A server for each host, with all that it answers.
    async fn servers(&self) -> BTreeMap<String, Server> {
        let mut servers = BTreeMap::new();
        for exchange in &self.exchanges {
            if !servers.contains_key(&exchange.host) {
                servers.insert(exchange.host.clone(), Server::start().await);
            }
        }
        for exchange in &self.exchanges {
            let same = |other: &&Exchange| other.host == exchange.host && other.request.path == exchange.request.path;
            let all: Vec<&Exchange> = self.exchanges.iter().filter(same).collect();
            // Whoever shows nothing, or anything else than the transcript does, gets no further.
            let bare = all.iter().find(|exchange| exchange.authorization.is_none());
            let mut reply = bare.map_or(Reply::status(401), |exchange| exchange.reply(&servers));
            if let Some((authorization, exchange)) =
                all.iter().find_map(|exchange| Some((exchange.authorization.as_deref()?, exchange)))
            {
                reply = reply.but_to(authorization, exchange.reply(&servers));
            }
            servers[&exchange.host].on(&exchange.request.path, reply);
        }
        servers
    }

    fn secrets(&self, registry: &Server) -> Vec<DockerConfig> {
        match self.credentials.as_str() {
            "none" => Vec::new(),
            "password" => vec![DockerConfig::of_password(registry.host(), USER, CANARY)],
            "identity token" => {
                let text = json!({"auths": {registry.host(): {"identitytoken": CANARY}}}).to_string();
                vec![DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap()]
            }
            other => panic!("{other:?} are no credentials"),
        }
    }

    async fn play(&self) {
        let servers = self.servers().await;
        let last = self.exchanges.last().expect("an exchange");
        let registry = &servers[&last.host];
        let access = Access { credentials: self.secrets(registry), ..plain(&servers.values().collect::<Vec<_>>()) };
        let (repository, tag) = last.request.path.strip_prefix("/v2/").unwrap().split_once("/manifests/").unwrap();
        let reference: Reference = format!("{}/{repository}:{tag}", registry.host()).parse().unwrap();

        let image = look_up(&patient(), &access, &reference).await.unwrap();
        assert_eq!(image.digest, Digest::of(last.body.as_bytes()));
        assert!(last.headers.contains(&("docker-content-digest".to_owned(), image.digest.to_string())));
        assert!(last.headers.contains(&("content-type".to_owned(), image.media_type.clone())));
        assert!(image.is_index() && image.platforms().len() == 2, "{image:?}");

        for (host, server) in &servers {
            let seen = server.seen().into_iter().map(|Seen { method, path, query, scheme, body, .. }| SentRequest {
                method,
                path,
                query: pairs(&query),
                scheme,
                form: pairs(&body),
            });
            let mine = self.exchanges.iter().filter(|exchange| exchange.host == *host);
            let expected: Vec<&SentRequest> = mine.clone().map(|exchange| &exchange.request).collect();
            assert_eq!(seen.collect::<Vec<_>>().iter().collect::<Vec<_>>(), expected, "at {host}");
            assert_eq!(received_secret(server), mine.clone().any(|exchange| exchange.shows_secret), "at {host}");
        }
    }
}

#[tokio::test]
async fn every_registry_gets_the_credentials_that_it_requires() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry/transcripts");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "http")).collect();
    files.sort();
    let mut played = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        // Shown by the test runner when an assertion below fails.
        println!("transcript {name}");
        Transcript::parse(&std::fs::read_to_string(&file).unwrap()).play().await;
        played.push(name);
    }
    for wanted in [
        "docker-hub",
        "quay-robot",
        "ghcr",
        "harbor",
        "artifactory",
        "nexus",
        "gitlab",
        "distribution-token",
        "distribution-htpasswd",
        "ecr",
        "acr",
        "gar",
    ] {
        assert!(played.iter().any(|name| name == wanted), "{wanted} is not among {played:?}");
    }
}
