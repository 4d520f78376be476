//! Why a request to the API server did not do what it should.
//!
//! What stands before an API server (load balancers, gateways) answers with the same HTTP status codes for reasons of
//! its own. Only an answer with a `Status` comes from an API server, so causes are told apart by its `reason` and
//! `details.causes` (meta/v1), never by the code of the answer.

use std::{error::Error, fmt::Write, time::Duration};

use http::StatusCode;
use kube::core::{Status, response::reason};
use serde_json::Value;

/// Cause of a `Status` for a resource version that the server has not reached (`CauseTypeResourceVersionTooLarge`).
const TOO_LARGE: &str = "ResourceVersionTooLarge";

/// What went wrong, as far as it matters for what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// No connection, or it broke.
    Unreachable,
    /// Nothing came for too long.
    Silent,
    /// Something else than an API server answered: there is no `Status`.
    Gateway {
        /// HTTP status code.
        code: u16,
    },
    /// The server has forgotten the resource version, or the token of the next page (`Expired`, `Gone`).
    Expired,
    /// The server has not reached the resource version.
    VersionTooLarge,
    /// The credentials are not accepted (`Unauthorized`).
    Unauthorized,
    /// The credentials are accepted, but do not allow this (`Forbidden`).
    Forbidden,
    /// The server does not have the kind of object (`NotFound`).
    NotFound,
    /// The server does not accept a parameter (`Invalid`, `BadRequest`, and the like).
    Refused {
        /// The first field that the `Status` names.
        field: Option<Box<str>>,
    },
    /// The server is there, but cannot serve now (`TooManyRequests`, `ServiceUnavailable`, `InternalError`, …).
    Unavailable {
        /// `code` of the `Status`.
        code: u16,
    },
    /// The answer is not what the API documents.
    Malformed,
    /// A watch ended at once, or before the end of its initial events.
    Ended,
    /// A list is empty, though objects were known.
    Emptied,
    /// Versions went backwards, as they do when etcd is restored from a backup.
    Replaced,
}

impl Why {
    /// How near the request came to being served: 0 is no answer, 1 one that need not be an API server's, 2 one of an
    /// API server that is not ready, 3 one that is ready.
    pub const fn nearness(&self) -> u8 {
        match self {
            Self::Unreachable | Self::Silent => 0,
            Self::Gateway { .. } | Self::Malformed | Self::Ended => 1,
            Self::Unavailable { .. } => 2,
            _ => 3,
        }
    }

    /// Whether the kind of object is not served, or not to us.
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Forbidden | Self::NotFound)
    }
}

/// A failed request, or an answer that broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    /// What went wrong.
    pub why: Why,
    message: String,
    /// How long the server asks to wait (`Retry-After`, or `details.retryAfterSeconds`).
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with its message.
    pub fn new(why: Why, message: impl Into<String>) -> Self {
        Self { why, message: message.into(), retry_after: None }
    }

    /// An answer that is not what the API documents.
    pub fn malformed(what: impl std::fmt::Display) -> Self {
        Self::new(Why::Malformed, format!("the answer cannot be understood: {what}"))
    }

    /// Nothing came for so long.
    pub fn silent(time: Duration) -> Self {
        Self::new(Why::Silent, format!("nothing came for {time:.1?}"))
    }

    /// An error with all that it came from.
    pub fn transport(error: &(dyn Error + 'static)) -> Self {
        let mut message = String::new();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Some errors already end with what they came from.
            if !message.ends_with(&text) {
                let separator = if message.is_empty() { "" } else { ": " };
                // Writing to a String does not fail.
                let _ = write!(message, "{separator}{text}");
            }
            next = error.source();
        }
        Self::new(Why::Unreachable, super::connect::explain(message))
    }

    /// An error of kube's client, without the word that it adds.
    pub fn client(error: &kube::Error) -> Self {
        if let kube::Error::Service(cause) = error {
            return Self::transport(&**cause);
        }
        Self::transport(error)
    }

    /// The body of an answer that is no success, and its `Retry-After`.
    pub fn answer(code: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Self {
        let code = code.as_u16();
        let failure = if let Some(status) = serde_json::from_slice(body).ok().and_then(read) {
            Self::status(&status, code)
        } else {
            // The first line of a page, or of plain text, must do.
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().trim();
            Self::new(Why::Gateway { code }, format!("the server answered {code}: {line}"))
        };
        Self { retry_after: retry_after.or(failure.retry_after), ..failure }
    }

    /// The object of an event of type `ERROR`.
    pub fn event(object: Value) -> Self {
        read(object).map_or_else(
            || Self::malformed("an ERROR event without a Status"),
            |status| Self::status(&status, status.code),
        )
    }

    fn status(status: &Status, code: u16) -> Self {
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let retry_after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        let message = format!("the server answered {code}: {}", status.message);
        Self { why: why(status), message, retry_after }
    }
}

/// A `Status`; nothing if the document is something else. Not every server leaves out what it has nothing to say about,
/// and kube takes no null.
fn read(mut document: Value) -> Option<Status> {
    fn drop_nulls(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| !value.is_null());
                fields.values_mut().for_each(drop_nulls);
            }
            Value::Array(values) => values.iter_mut().for_each(drop_nulls),
            _ => {}
        }
    }
    if document["kind"] != "Status" {
        return None;
    }
    drop_nulls(&mut document);
    serde_json::from_value(document).ok()
}

/// What a `Status` says; its code counts only if it gives no reason.
fn why(status: &Status) -> Why {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    if causes.iter().any(|cause| cause.reason == TOO_LARGE) {
        return Why::VersionTooLarge;
    }
    match (&*status.reason, status.code) {
        (reason::EXPIRED | reason::GONE, _) | ("", 410) => Why::Expired,
        (reason::UNAUTHORIZED, _) | ("", 401) => Why::Unauthorized,
        (reason::FORBIDDEN, _) | ("", 403) => Why::Forbidden,
        (reason::NOT_FOUND, _) | ("", 404) => Why::NotFound,
        (
            reason::INVALID
            | reason::BAD_REQUEST
            | reason::METHOD_NOT_ALLOWED
            | reason::NOT_ACCEPTABLE
            | reason::UNSUPPORTED_MEDIA_TYPE,
            _,
        )
        | ("", 400 | 405 | 406 | 415 | 422 | 501) => {
            let field = causes.iter().find(|cause| !cause.field.is_empty());
            Why::Refused { field: field.map(|cause| (&*cause.field).into()) }
        }
        (_, code) => Why::Unavailable { code },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_message_of_an_error_has_its_causes() {
        let error = Outer(std::io::Error::other("connection refused"));
        assert_eq!(Failure::transport(&error).to_string(), "outer: connection refused");
        let error = kube::Error::Service(Box::new(error));
        assert_eq!(Failure::client(&error).to_string(), "outer: connection refused");
    }

    #[test]
    fn a_status_is_told_apart_by_its_reason_and_causes() {
        let cause = |reason: &str, field: &str| json!({"causes": [{"reason": reason, "field": field}]});
        let refused = |field: Option<&str>| Why::Refused { field: field.map(Into::into) };
        for (code, reason, details, expected) in [
            (504, "Timeout", json!(null), Why::Unavailable { code: 504 }),
            (504, "Timeout", cause("ResourceVersionTooLarge", ""), Why::VersionTooLarge),
            (410, "Expired", json!(null), Why::Expired),
            (410, "Gone", json!({}), Why::Expired),
            (0, "Expired", json!({"causes": null}), Why::Expired),
            (410, "", json!(null), Why::Expired),
            (403, "Forbidden", json!({"kind": "services"}), Why::Forbidden),
            (401, "Unauthorized", json!(null), Why::Unauthorized),
            (404, "NotFound", json!({}), Why::NotFound),
            (
                422,
                "Invalid",
                cause("FieldValueForbidden", "sendInitialEvents"),
                refused(Some("sendInitialEvents")),
            ),
            (400, "BadRequest", json!(null), refused(None)),
            (429, "TooManyRequests", json!({"retryAfterSeconds": 7}), Why::Unavailable { code: 429 }),
            (409, "Conflict", json!(null), Why::Unavailable { code: 409 }),
        ] {
            let status = json!({
                "kind": "Status", "metadata": null, "status": "Failure", "message": null, "reason": reason,
                "details": details, "code": code,
            });
            assert_eq!(Failure::event(status.clone()).why, expected, "{status}");
            let answer = Failure::answer(StatusCode::IM_A_TEAPOT, status.to_string().as_bytes(), None);
            assert_eq!(answer.why, expected, "the code of the answer does not matter: {status}");
            let asked = (code == 429).then_some(Duration::from_secs(7));
            assert_eq!(answer.retry_after, asked, "{status}");
        }
    }

    #[test]
    fn an_answer_without_a_status_is_a_gateways() {
        for body in [
            "<html>\n504 Gateway Time-out",
            "404 page not found\n",
            "",
            "{}",
            r#"{"kind":"StatusList"}"#,
            "[]",
        ] {
            for code in [400, 401, 404, 410, 422, 504] {
                let failure = Failure::answer(
                    StatusCode::from_u16(code).unwrap(),
                    body.as_bytes(),
                    Some(Duration::from_secs(9)),
                );
                assert_eq!(failure.why, Why::Gateway { code }, "{body}");
                assert_eq!(failure.retry_after, Some(Duration::from_secs(9)));
                assert_eq!(failure.to_string().lines().count(), 1, "{failure}");
            }
        }
    }
}
