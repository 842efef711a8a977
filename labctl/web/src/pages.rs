//! What is served: the page, its assets, and the state as JSON and as a stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::{Source, Update};

type Shared = Arc<dyn Source>;

/// All routes.
pub fn router(source: Shared) -> Router {
    Router::new()
        .route("/", get(|| part("text/html; charset=utf-8", include_str!("../assets/index.html"))))
        .route("/dashboard.js", get(|| part("text/javascript; charset=utf-8", include_str!("../assets/dashboard.js"))))
        .route("/dashboard.css", get(|| part("text/css; charset=utf-8", include_str!("../assets/dashboard.css"))))
        .route("/icon.svg", get(|| part("image/svg+xml", include_str!("../assets/icon.svg"))))
        .route("/api/status", get(status))
        .route("/api/stream", get(follow))
        .route("/api/reports/{name}", get(report))
        .with_state(source)
}

async fn part(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

/// The lab's state, in the format of `labctl status --json`.
async fn status(State(source): State<Shared>) -> Response {
    match source.feed().status() {
        Some(status) => match serde_json::to_vec(&status) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()).into_response(),
        },
        None => (StatusCode::SERVICE_UNAVAILABLE, "the lab's state is not known yet\n").into_response(),
    }
}

/// A scenario's report as text.
async fn report(State(source): State<Shared>, Path(name): Path<String>) -> Response {
    match source.report(&name) {
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such report\n").into_response(),
    }
}

/// Position of a page's stream.
struct Follower {
    source: Shared,
    due: VecDeque<Event>,
    updates: Receiver<Update>,
}

impl Follower {
    fn new(source: Shared) -> Self {
        let (due, updates) = begin(&source);
        Self { source, due, updates }
    }

    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.due.pop_front() {
                return Some((Ok(event), self));
            }
            match self.updates.recv().await {
                Ok(update) => self.due.push_back(event(&update)),
                Err(RecvError::Lagged(_)) => (self.due, self.updates) = begin(&self.source),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// `begin` clears the page; the following events fill it.
fn begin(source: &Shared) -> (VecDeque<Event>, Receiver<Update>) {
    let (shown, updates) = source.feed().subscribe();
    let start = Event::default().event("begin").data("{}");
    (std::iter::once(start).chain(shown.iter().map(event)).collect(), updates)
}

fn event(update: &Update) -> Event {
    match update {
        Update::Status(status) => named("status", status),
        Update::Happened(stamped) => named("happened", stamped),
        Update::Reports(reports) => named("reports", reports),
    }
}

fn named<T: Serialize>(name: &str, value: &T) -> Event {
    // Plain data with text keys can always be written as JSON.
    Event::default().event(name).data(serde_json::to_string(value).unwrap_or_default())
}

/// The state and every change of it, as server-sent events (HTML Standard, 9.2).
async fn follow(State(source): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // The keep-alive comments distinguish a dead connection from a quiet lab.
    Sse::new(stream::unfold(Follower::new(source), Follower::next)).keep_alive(KeepAlive::default())
}
