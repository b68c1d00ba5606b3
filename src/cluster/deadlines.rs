//! Deadlines of every connection and request to the API server: an attempt that meets silence ends, and is retried and logged
//! by whoever made it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use tower::{BoxError, Service};
use tower_http::timeout::TimeoutBody;

use super::request_counter::is_watch;

/// For a connection with all that it takes: TCP, a proxy's tunnel, TLS.
const CONNECTION: Duration = Duration::from_secs(10);
/// Until the API server begins to respond.
const HEAD: Duration = Duration::from_secs(30);
/// Between two parts of a response.
const PAUSE: Duration = Duration::from_secs(30);
/// The same where the API server waits for changes: longer than the time after which it ends a watch by itself (kube: 290 s).
const PAUSE_OF_A_WATCH: Duration = Duration::from_secs(330);

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// What did not happen in time.
#[derive(Debug, thiserror::Error)]
enum Late {
    #[error("no connection within {} s", CONNECTION.as_secs())]
    Connection,
    #[error("no response within {} s", .0.as_secs())]
    Head(Duration),
}

/// A connector that gives up in time.
#[derive(Clone)]
pub(super) struct TimedConnector<C>(pub C);

impl<C> Service<Uri> for TimedConnector<C>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Boxed<C::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connection = tokio::time::timeout(CONNECTION, self.0.call(address));
        Box::pin(async { connection.await.map_err(|_| Late::Connection)?.map_err(Into::into) })
    }
}

/// Requests that end in time.
#[derive(Clone)]
pub(super) struct TimedRequests<S> {
    inner: S,
    head: Duration,
}

impl<S> TimedRequests<S> {
    /// Returns requests that end after this wait for the head of a response, or after the default.
    pub fn new(inner: S, head: Option<Duration>) -> Self {
        Self { inner, head: head.unwrap_or(HEAD) }
    }
}

impl<S, B, R> Service<Request<B>> for TimedRequests<S>
where
    S: Service<Request<B>, Response = Response<R>, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = Response<TimeoutBody<R>>;
    type Error = BoxError;
    type Future = Boxed<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let pause = if is_watch(request.uri()) { PAUSE_OF_A_WATCH } else { PAUSE };
        let longest = self.head;
        let head = tokio::time::timeout(longest, self.inner.call(request));
        Box::pin(async move {
            let response = head.await.map_err(|_| Late::Head(longest))?.map_err(Into::into)?;
            Ok(response.map(|body| TimeoutBody::new(pause, body)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use std::convert::Infallible;

    type Body = Full<bytes::Bytes>;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_and_a_request() {
        let silent = tower::service_fn(|_: Uri| std::future::pending::<Result<(), Infallible>>());
        let late = TimedConnector(silent).call(Uri::from_static("https://silent.example")).await;
        assert_eq!(late.unwrap_err().to_string(), "no connection within 10 s");
        let silent = tower::service_fn(|_: Request<()>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let late = TimedRequests::new(silent, None).call(Request::new(())).await;
        assert_eq!(late.map(drop).unwrap_err().to_string(), "no response within 30 s");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_within_a_response_ends_it_and_a_watch_may_be_silent_for_longer() {
        let ends_after = async |address: &'static str| {
            let silent = tower::service_fn(|_: Request<()>| async {
                let never = futures::stream::pending::<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>();
                Ok::<_, Infallible>(Response::new(StreamBody::new(never)))
            });
            let request = Request::get(address).body(()).unwrap();
            let response = TimedRequests::new(silent, None).call(request).await.unwrap();
            let started = tokio::time::Instant::now();
            response.into_body().collect().await.unwrap_err();
            started.elapsed().as_secs()
        };
        assert_eq!(ends_after("/api/v1/pods").await, PAUSE.as_secs());
        assert_eq!(ends_after("/api/v1/pods?watch=true").await, PAUSE_OF_A_WATCH.as_secs());
    }
}
