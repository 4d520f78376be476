//! Web pages that show what this node does. Rendered on the server, readable without a script, and small however large
//! the cluster is.
//!
//! The reconciler only returns pointers to the objects that it holds. A thread other than the servers' reads and
//! renders them, so that no probe waits for a page.

mod commits;
mod layout;
mod list;
mod service;
mod trace;

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{
        HeaderName, StatusCode, Uri,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};
use portolan_rules::{
    model::ObjectName,
    picture::{PAGE_STYLE, STYLE},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::shared::Shared;
use crate::observe::query::{Snapshot, Unanswered, Wanted};

/// Number of pages that are rendered at a time; others wait.
const RENDERED: usize = 2;

/// The style of everything except the pictures.
const CSS: &str = include_str!("page/page.css");

/// What a page may do: load its style sheet, script and images from this server, connect to it and send forms to it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What the handlers of the page share.
#[derive(Clone)]
struct Pages {
    shared: Shared,
    rendering: Arc<Semaphore>,
}

/// The routes.
pub fn router(shared: &Shared) -> Router {
    let pages = Pages { shared: shared.clone(), rendering: Arc::new(Semaphore::new(RENDERED)) };
    Router::new()
        .route("/", get(index))
        .route("/services/{namespace}/{name}", get(one))
        .route("/trace", get(traced))
        .route("/commits", get(committed))
        .route("/page.css", get(async || file("text/css; charset=utf-8", [PAGE_STYLE, STYLE, CSS].concat())))
        .route("/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("page/page.js"))))
        .route("/page.svg", get(async || file("image/svg+xml", include_str!("page/page.svg"))))
        .with_state(pages)
}

/// The value of a parameter, if present.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<Cow<'a, str>> {
    let query = uri.query().unwrap_or_default().as_bytes();
    form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value)
}

fn file(kind: &'static str, text: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

/// The Services and the state of this node.
async fn index(State(pages): State<Pages>, uri: Uri) -> Response {
    let search = parameter(&uri, "q").unwrap_or_default().trim().to_owned();
    let number = parameter(&uri, "page").and_then(|page| page.parse().ok()).unwrap_or(1);
    pages
        .answer(Wanted::All, "Services", move |shared, snapshot| {
            (StatusCode::OK, list::page(shared, snapshot, &search, number))
        })
        .await
}

/// A Service.
async fn one(State(pages): State<Pages>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let name = ObjectName::new(&*namespace, &*name);
    let title = name.to_string();
    pages
        .answer(Wanted::Service(name.clone()), &title, move |shared, snapshot| {
            match service::page(shared, snapshot, &name) {
                Some(page) => (StatusCode::OK, page),
                None => (
                    StatusCode::NOT_FOUND,
                    html! { h1 { "No such Service" } p { "This node knows no Service " code { (name) } "." } },
                ),
            }
        })
        .await
}

/// A hypothetical connection and its outcome.
async fn traced(State(pages): State<Pages>, uri: Uri) -> Response {
    let question = trace::Question::new(|name| parameter(&uri, name));
    let wanted = question.wanted();
    pages.answer(wanted, "Trace", move |_, snapshot| (StatusCode::OK, trace::page(&question, snapshot))).await
}

/// The last commits. The reconciler is not queried.
async fn committed(State(pages): State<Pages>) -> Response {
    let page = commits::page(&pages.shared.history, pages.shared.health.report().now);
    respond(StatusCode::OK, &pages.shared, "Commits", &page)
}

impl Pages {
    /// Asks the reconciler and renders its answer.
    async fn answer(
        &self,
        wanted: Wanted,
        title: &str,
        render: impl FnOnce(&Shared, &Snapshot) -> (StatusCode, Markup) + Send + 'static,
    ) -> Response {
        // The semaphore is never closed.
        let _permit = self.rendering.acquire().await;
        let snapshot = match self.shared.asker.ask(wanted).await {
            Ok(snapshot) => snapshot,
            Err(Unanswered) => return self.unanswered(),
        };
        let shared = self.shared.clone();
        let Ok((code, page)) = spawn_blocking(move || render(&shared, &snapshot)).await else {
            return self.unanswered();
        };
        respond(code, &self.shared, title, &page)
    }

    /// What is known without the reconciler.
    fn unanswered(&self) -> Response {
        let page = html! {
            (layout::status(&self.shared))
            p.warn { (Unanswered) "." }
        };
        respond(StatusCode::SERVICE_UNAVAILABLE, &self.shared, "Busy", &page)
    }
}

fn respond(code: StatusCode, shared: &Shared, title: &str, page: &Markup) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (code, headers, layout::document(&shared.settings.node.node_name, title, page).into_string())
        .into_response()
}
