//! The HTTP listener for operators: `/metrics`, `/health/live`, `/health/ready`. It runs on the
//! control thread, is never in a record's way, and takes nothing: any request that is not a GET of
//! one of these is refused. Bounded in connections, in the size of a request's head, and in time.

use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

pub mod exposition;
pub mod health;
mod metrics;
mod process;

pub use health::Health;
pub use metrics::Observed;

/// Connections at once: a few scrapers, and people. More are closed.
const CONNECTIONS_MAX: usize = 32;

/// A request's head: no scraper sends more than a few hundred bytes.
const HEAD_BYTES: usize = 16 << 10;

/// How long a request's head may take, and a connection be idle: scrapers come back after a minute.
const HEAD_PATIENCE: Duration = Duration::from_secs(90);

/// How long an answer may take to be made and sent.
const CONNECTION_LIFE: Duration = Duration::from_secs(3600);

/// The listener and what it shows.
pub struct Http {
    /// Until it is served.
    pub listener: Option<TcpListener>,
    /// What it shows.
    pub observed: Arc<Observed>,
}

/// Serves until the runtime ends.
///
/// # Errors
/// If the socket cannot be used by the runtime.
pub fn serve(listener: TcpListener, observed: Arc<Observed>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    drop(tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            match listener.accept().await {
                Ok((stream, _)) => admit(stream, &places, &observed),
                Err(error) => {
                    // Out of descriptors, mostly: the same would come back at once.
                    tracing::warn!(%error, "the metrics listener cannot accept a connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }));
    Ok(())
}

fn admit(stream: TcpStream, places: &Arc<Semaphore>, observed: &Arc<Observed>) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        tracing::debug!(
            "a connection to the metrics listener was closed: {CONNECTIONS_MAX} are \
            open"
        );
        return;
    };
    let observed = Arc::clone(observed);
    drop(tokio::spawn(async move {
        let answer = service_fn(|request| answer(request, &observed));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), answer);
        if let Ok(Err(error)) = timeout(CONNECTION_LIFE, connection).await {
            tracing::debug!(%error, "a connection to the metrics listener ended");
        }
        drop(place);
    }));
}

async fn answer(
    request: Request<Incoming>,
    observed: &Observed,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        refused
            .headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    Ok(match request.uri().path() {
        "/metrics" => match observed.metrics().await {
            Ok(body) => typed(StatusCode::OK, exposition::CONTENT_TYPE, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/health/live" => state(observed.health.liveness()),
        "/health/ready" => state(observed.health.readiness()),
        _ => text(
            StatusCode::NOT_FOUND,
            "served here: /metrics /health/live /health/ready\n",
        ),
    })
}

fn state(found: Result<(), String>) -> Response<Full<Bytes>> {
    match found {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
