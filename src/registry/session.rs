//! A session with one registry for the lookups of one call: sends requests within the registry's rate limit, stops when the
//! registry cannot serve, and decides what a failure may quote.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{StatusCode, Version};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;
use url::Url;

use super::access::{Access, Endpoint};
use super::auth::cache::Authorization;
use super::auth::cloud::issued::Identity;
use super::auth::credentials::{Credential, Secret};
use super::auth::scheme::AuthScheme;
use super::auth::tried_credentials::TriedCredentials;
use super::error::{RegistryError, Result};
use super::http::address::AddressClass;
use super::http::client_certificate::ClientCertificate;
use super::http::rate_limit::{RateLimit, Turn};
use super::http::redaction::redacted;
use super::http::request::{HttpRequest, HttpResponse};
use super::http::transport::Transport;
use super::registry_state::RegistryState;
use crate::model::{Reference, RegistryFailure, RegistryFailureKind, Release};

/// Replaces the text of a registry that received credentials.
const NOT_QUOTED: &str = "[not quoted]";

/// A session with one registry for the lookups of one call.
pub(crate) struct Session<'a> {
    pub transport: &'a Transport,
    pub access: &'a Access,
    pub endpoint: &'a Endpoint,
    pub state: &'a RegistryState,
    pub repositories: Vec<String>,
    pub progress: watch::Sender<Progress>,
    /// Whom a cloud issued the endpoint's credentials to.
    identity: Option<Identity>,
    /// For the response to a HEAD request. Some proxies never answer one.
    pub head_deadline: Duration,
    /// The scheme that the registry's root names, once a lookup had to find out.
    pub named_by_root: OnceCell<Option<(AuthScheme, AddressClass)>>,
    tried: Mutex<TriedCredentials>,
}

/// What the session has found out about the registry.
#[derive(Default)]
pub(crate) struct Progress {
    /// Its authentication scheme is known, or that it does not serve at all: lookups may run side by side.
    pub open: bool,
    /// When it last gave a complete response.
    pub responded: Option<Instant>,
    /// The error that ends the session: no further requests are sent.
    pub halted: Option<RegistryError>,
}

/// A lookup in a repository.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub repository: &'a str,
    /// What follows the repository: `manifests/<reference>`, `blobs/<digest>` or `tags/list`.
    pub path: &'a str,
    /// Supported media types.
    pub accept: &'static str,
    /// Maximum length of the body, in bytes.
    pub limit: usize,
    /// Requests the headers only.
    pub head: bool,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        transport: &'a Transport,
        access: &'a Access,
        endpoint: &'a Endpoint,
        state: &'a RegistryState,
        repositories: Vec<String>,
        head_deadline: Duration,
    ) -> Self {
        // Those of a cloud change with time.
        let configs = access.configs(endpoint).chain(&endpoint.settings.credentials).cloned().collect();
        let open = state.begin_session(endpoint, configs);
        let progress = watch::Sender::new(Progress { open, ..Progress::default() });
        Self {
            transport,
            access,
            endpoint,
            state,
            repositories,
            progress,
            head_deadline,
            identity: None,
            named_by_root: OnceCell::new(),
            tried: Mutex::default(),
        }
    }

    /// Names whom a cloud issued the endpoint's credentials to, for failures.
    pub(crate) fn of_identity(self, identity: Option<&Identity>) -> Self {
        Self { identity: identity.cloned(), ..self }
    }

    /// Returns the HTTP version of the registry, if it has ever responded.
    pub(crate) fn version(&self) -> Option<Version> {
        self.state.known().version
    }

    /// Waits until lookups may run side by side.
    pub(crate) async fn opened(&self) {
        // The sender is part of the session, so this ends by the condition only.
        let _ = self.progress.subscribe().wait_for(|progress| progress.open).await;
    }

    pub(crate) fn open(&self) {
        self.progress.send_if_modified(|progress| !std::mem::replace(&mut progress.open, true));
    }

    /// Ends the session: every further lookup fails with this error.
    pub(crate) fn halt(&self, error: &RegistryError) {
        self.state.known().doubted = true;
        self.progress.send_modify(|progress| {
            progress.halted.get_or_insert_with(|| error.clone());
            progress.open = true;
        });
    }

    /// Returns the error that ended the session.
    pub(crate) fn halted(&self) -> Option<RegistryError> {
        self.progress.borrow().halted.clone()
    }

    /// Ends the session if the registry gave no complete response since `since`, when a lookup began that has now timed out.
    pub(crate) fn timed_out(&self, since: Instant, error: &RegistryError) {
        let silent = self.progress.borrow().responded.is_none_or(|responded| responded < since);
        if silent {
            self.halt(error);
        }
    }

    pub(crate) fn tried(&self) -> MutexGuard<'_, TriedCredentials> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns an error into the failure of a reference. A registry that received a credential could write it into its responses in
    /// any form: from then on only statuses and known error codes are quoted. Every secret that this session knows is redacted all
    /// the same.
    pub(crate) fn failure(&self, error: &RegistryError, reference: &Reference) -> RegistryFailure {
        let settings = &self.endpoint.settings;
        let of_cloud = match (&self.identity, settings.provider) {
            (Some(identity), Some(provider)) if error.is_of_credentials() => {
                Some(identity.rejected_by_registry(provider, &settings.host, error))
            }
            _ => None,
        };
        let error = of_cloud.as_ref().unwrap_or(error);
        let text = if self.has_sent_credentials() { &error.unquoted } else { &error.message };
        let own: Vec<Secret> = self.access.all_credentials(self.endpoint).flat_map(Credential::secrets).collect();
        let key = self.endpoint.settings.client_certificate.as_ref().map(ClientCertificate::key);
        let proxies = self.transport.proxy_secrets();
        let text = redacted(text, own.iter().chain(key).chain(&proxies).chain(self.state.known().auth.received()));
        // A host that the registry named is text of its choice.
        let token_service = error.token_service.as_deref().filter(|_| !self.has_sent_credentials());
        RegistryFailure::new(error.kind, Some(reference.clone()), &self.endpoint.settings.host, &text)
            .because(error.cause, token_service)
    }

    /// Returns an image's version label as it may be shown: of a registry that received credentials, only that of a release.
    pub(crate) fn quotable(&self, label: String) -> String {
        if self.has_sent_credentials() && label.parse::<Release>().is_err() { NOT_QUOTED.to_owned() } else { label }
    }

    fn has_sent_credentials(&self) -> bool {
        self.transport.disclosures.includes(self.endpoint.base.host_str().unwrap_or_default())
    }

    /// Sends one request within the registry's rate limit.
    pub(crate) async fn send(
        &self,
        url: &Url,
        lookup: Lookup<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<HttpResponse> {
        // Docker Hub does not count HEAD requests.
        let counted = !(lookup.head && self.endpoint.is_docker_hub()) && self.take_turn().await?;
        let Lookup { accept, limit, head, .. } = lookup;
        let confidential = authorization.is_some_and(|authorization| authorization.confidential);
        let authorization = authorization.map(|authorization| authorization.header.clone());
        let budget = &self.state.budget;
        let request =
            HttpRequest { accept, authorization, confidential, limit, head, ..HttpRequest::get(url.clone(), budget) };
        // Given back on drop: a deadline drops the exchange in its middle.
        let turn = counted.then(|| CountedRequest(self.state));
        let permit = budget.request().await;
        let anonymous = request.authorization.is_none();
        let measured = self.transport.metrics.begin(if head { "head" } else { "get" }, "Timeout");
        let response = self.transport.send(self.endpoint, request).await.and_then(reject_challenge_of_other_host);
        measured.end(match &response {
            Ok(response) if response.status == StatusCode::OK => "Ok",
            // This is how the authentication scheme is learned.
            Ok(response) if response.status == StatusCode::UNAUTHORIZED && anonymous => "Challenge",
            Ok(response) => response.error().kind.as_str(),
            Err(error) => error.kind.as_str(),
        });
        drop((permit, turn));
        let response = response?;
        self.note_response(&response);
        Ok(response)
    }

    fn note_response(&self, response: &HttpResponse) {
        let mut known = self.state.known();
        known.version = Some(response.version);
        let announced = RateLimit::parse(&response.headers, Instant::now());
        if let Some(announced) = announced.filter(|_| response.other_host.is_none()) {
            match &mut known.rate {
                Some(rate) => rate.update(announced),
                rate => *rate = Some(announced),
            }
        }
        drop(known);
        self.progress.send_modify(|progress| progress.responded = Some(Instant::now()));
    }

    /// Waits until another request leaves half of an announced limit. Returns whether there is a limit.
    async fn take_turn(&self) -> Result<bool> {
        loop {
            let given_back = self.state.given_back.notified();
            {
                let mut known = self.state.known();
                known.rate.take_if(|rate| rate.is_over(Instant::now()));
                match known.rate.as_mut().map(RateLimit::take).transpose()? {
                    None => return Ok(false),
                    Some(Turn::Taken) => return Ok(true),
                    Some(Turn::Later) => {}
                }
            }
            given_back.await;
        }
    }
}

/// A request that the rate limit counts, until it is dropped.
struct CountedRequest<'a>(&'a RegistryState);

impl Drop for CountedRequest<'_> {
    fn drop(&mut self) {
        if let Some(rate) = &mut self.0.known().rate {
            rate.give_back();
        }
        self.0.given_back.notify_waiters();
    }
}

/// Rejects a 401 of a host that the registry redirected to. Its challenge could name anybody.
fn reject_challenge_of_other_host(response: HttpResponse) -> Result<HttpResponse> {
    match &response.other_host {
        Some(host) if response.status == StatusCode::UNAUTHORIZED => {
            let text = format!("redirected to {host}, which wants credentials of its own (401)");
            let unquoted = "redirected to another host, which wants credentials of its own (401)";
            Err(RegistryError::quoting(RegistryFailureKind::InvalidAnswer, unquoted, &text))
        }
        _ => Ok(response),
    }
}
