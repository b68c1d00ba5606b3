//! Counts requests to the API server, each try by itself, and the time until the response begins. Changes nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode, Uri};
use tower::Service;

use crate::request_metrics::RequestMetrics;

/// The HTTP client below, counted.
#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    metrics: RequestMetrics,
}

impl<S> Counted<S> {
    pub(super) const fn new(inner: S, metrics: RequestMetrics) -> Self {
        Self { inner, metrics }
    }
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let under_way =
            self.metrics.begin(verb(request.method(), request.uri().query().unwrap_or_default()), "timeout");
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await;
            under_way.end(response.as_ref().map_or("error", |response| class(response.status())));
            response
        })
    }
}

/// As Kubernetes names it, as far as the request tells; a list is a `get`.
fn verb(method: &Method, query: &str) -> &'static str {
    match *method {
        Method::GET if watches(query) => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

fn watches(query: &str) -> bool {
    query.split('&').any(|parameter| matches!(parameter, "watch=true" | "watch=1"))
}

/// Whether a request to this address is a watch.
pub(super) fn is_watch(address: &Uri) -> bool {
    watches(address.query().unwrap_or_default())
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_no_get() {
        assert_eq!(verb(&Method::GET, "limit=500"), "get");
        assert_eq!(verb(&Method::GET, "watch=true&resourceVersion=7"), "watch");
        assert_eq!(verb(&Method::GET, "allowWatchBookmarks=true&watch=1"), "watch");
        assert_eq!(verb(&Method::PATCH, "fieldManager=watch"), "patch");
        assert_eq!((class(StatusCode::CONFLICT), class(StatusCode::SERVICE_UNAVAILABLE)), ("4xx", "5xx"));
    }
}
