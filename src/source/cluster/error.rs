//! Why a request to the API server failed.
//!
//! Load balancers and gateways in front of an API server answer with the same HTTP status codes for reasons of their own.
//! Only an answer with a `Status` comes from an API server, so causes are recognised by its `reason` and
//! `details.causes` (meta/v1), never by the status code of the answer.

use std::{error::Error, fmt::Write, time::Duration};

use http::StatusCode;
use kube::core::{Status, response::reason};
use serde_json::Value;

use crate::api::protobuf;

/// Cause of a `Status` for a resource version that the server has not reached (`CauseTypeResourceVersionTooLarge`).
const TOO_LARGE: &str = "ResourceVersionTooLarge";

/// The kind of failure, as far as it determines the next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// There is no connection, or it broke.
    Unreachable,
    /// Nothing was received for too long.
    Silent,
    /// The answer has no `Status`, so it is not from an API server.
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
    /// The request is not permitted (`Forbidden`).
    Forbidden,
    /// The server does not have the kind of object (`NotFound`).
    NotFound,
    /// The server does not accept a parameter (`Invalid`, `BadRequest`, and the like).
    Refused,
    /// The server cannot serve the request now (`TooManyRequests`, `ServiceUnavailable`, `InternalError`, …).
    Unavailable {
        /// `code` of the `Status`.
        code: u16,
    },
    /// The answer is not as the API documents it.
    Malformed,
    /// A watch ended at once.
    Ended,
    /// A list is empty, though objects are known.
    Emptied,
    /// Versions went backwards, as they do when etcd is restored from a backup.
    Replaced,
}

impl Reason {
    /// How far the request got: 0 without an answer, 1 with an answer that may not be from an API server, 2 with an
    /// answer from an API server that is not ready, 3 with an answer from an API server that is ready.
    pub const fn progress(&self) -> u8 {
        match self {
            Self::Unreachable | Self::Silent => 0,
            Self::Gateway { .. } | Self::Malformed | Self::Ended => 1,
            Self::Unavailable { .. } => 2,
            _ => 3,
        }
    }

    /// Whether the kind of object is not served, or reading it is not permitted.
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Forbidden | Self::NotFound)
    }
}

/// A request failed, or its answer was cut off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct RequestError {
    /// The kind of failure.
    pub reason: Reason,
    message: String,
    /// The delay that the server asks for (`Retry-After`, or `details.retryAfterSeconds`).
    pub retry_after: Option<Duration>,
}

impl RequestError {
    /// An error of this kind.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    /// The answer is not as the API documents it.
    pub fn malformed(what: impl std::fmt::Display) -> Self {
        Self::new(Reason::Malformed, format!("the answer is invalid: {what}"))
    }

    /// Nothing was received for this long.
    pub fn silent(time: Duration) -> Self {
        Self::new(Reason::Silent, format!("nothing was received for {time:.1?}"))
    }

    /// An error of the transport, with its causes.
    pub fn transport(error: &(dyn Error + 'static)) -> Self {
        let mut message = String::new();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Some errors already end with their cause.
            if !message.ends_with(&text) {
                let separator = if message.is_empty() { "" } else { ": " };
                // Writing to a String does not fail.
                let _ = write!(message, "{separator}{text}");
            }
            next = error.source();
        }
        Self::new(Reason::Unreachable, explain(message))
    }

    /// An error of kube's client, without its prefix.
    pub fn client(error: &kube::Error) -> Self {
        if let kube::Error::Service(cause) = error {
            return Self::transport(&**cause);
        }
        Self::transport(error)
    }

    /// An answer that is not a success, with this status code, body and `Retry-After`.
    pub fn answer(code: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Self {
        let code = code.as_u16();
        let error = if let Some(status) = document(body).and_then(read_status) {
            Self::with_code(&status, code)
        } else {
            // The first line of a page or text is enough.
            let text = String::from_utf8_lossy(body);
            let line = text.lines().next().unwrap_or_default().trim();
            Self::new(Reason::Gateway { code }, format!("the server answered {code}: {line}"))
        };
        Self { retry_after: retry_after.or(error.retry_after), ..error }
    }

    /// The object of an event of type `ERROR`.
    pub fn event(object: Value) -> Self {
        read_status(object).map_or_else(
            || Self::malformed("an ERROR event without a Status"),
            |status| Self::status(&status),
        )
    }

    /// The object of an event of type `ERROR`, in protobuf.
    pub fn event_document(bytes: &[u8]) -> Self {
        Self::event(document(bytes).unwrap_or_default())
    }

    /// A `Status`.
    pub fn status(status: &Status) -> Self {
        Self::with_code(status, status.code)
    }

    fn with_code(status: &Status, code: u16) -> Self {
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let retry_after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        let message = format!("the server answered {code}: {}", status.message);
        Self { reason: classify(status), message, retry_after }
    }
}

/// A document in JSON, or a `Status` in protobuf.
fn document(bytes: &[u8]) -> Option<Value> {
    if !bytes.starts_with(protobuf::MAGIC) {
        return serde_json::from_slice(bytes).ok();
    }
    let (kind, object) = protobuf::document(bytes).ok()?;
    let mut document: Value = protobuf::read(object, protobuf::STATUS).ok()?;
    document["kind"] = kind.into();
    Some(document)
}

/// A `Status`; `None` if the document is something else. Some servers write null for empty fields, which kube does not
/// accept.
fn read_status(mut document: Value) -> Option<Status> {
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

/// The kind of failure that a `Status` describes. The code of the `Status` is used only if it has no reason.
fn classify(status: &Status) -> Reason {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    if causes.iter().any(|cause| cause.reason == TOO_LARGE) {
        return Reason::VersionTooLarge;
    }
    match (&*status.reason, status.code) {
        (reason::EXPIRED | reason::GONE, _) | ("", 410) => Reason::Expired,
        (reason::UNAUTHORIZED, _) | ("", 401) => Reason::Unauthorized,
        (reason::FORBIDDEN, _) | ("", 403) => Reason::Forbidden,
        (reason::NOT_FOUND, _) | ("", 404) => Reason::NotFound,
        (
            reason::INVALID
            | reason::BAD_REQUEST
            | reason::METHOD_NOT_ALLOWED
            | reason::NOT_ACCEPTABLE
            | reason::UNSUPPORTED_MEDIA_TYPE,
            _,
        )
        | ("", 400 | 405 | 406 | 415 | 422 | 501) => Reason::Refused,
        (_, code) => Reason::Unavailable { code },
    }
}

/// Adds an explanation to messages of libraries that only hint at the cause.
fn explain(mut message: String) -> String {
    let hints = [
        (
            "CaUsedAsEndEntity",
            "; the API server's certificate is that of a certificate authority (CA:TRUE), which is not accepted for a \
             server: have the authority sign a separate certificate for the server",
        ),
        ("tunnel error", "; the proxy is the one of $HTTPS_PROXY, or of proxy-url in the kubeconfig"),
    ];
    for (sign, hint) in hints {
        if message.contains(sign) {
            message.push_str(hint);
        }
    }
    message
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
        assert_eq!(RequestError::transport(&error).to_string(), "outer: connection refused");
        let error = kube::Error::Service(Box::new(error));
        assert_eq!(RequestError::client(&error).to_string(), "outer: connection refused");
    }

    #[test]
    fn a_status_is_recognised_by_its_reason_and_causes() {
        let cause = |reason: &str, field: &str| json!({"causes": [{"reason": reason, "field": field}]});
        for (code, reason, details, expected) in [
            (504, "Timeout", json!(null), Reason::Unavailable { code: 504 }),
            (504, "Timeout", cause("ResourceVersionTooLarge", ""), Reason::VersionTooLarge),
            (410, "Expired", json!(null), Reason::Expired),
            (410, "Gone", json!({}), Reason::Expired),
            (0, "Expired", json!({"causes": null}), Reason::Expired),
            (410, "", json!(null), Reason::Expired),
            (403, "Forbidden", json!({"kind": "services"}), Reason::Forbidden),
            (401, "Unauthorized", json!(null), Reason::Unauthorized),
            (404, "NotFound", json!({}), Reason::NotFound),
            (422, "Invalid", cause("FieldValueForbidden", "resourceVersionMatch"), Reason::Refused),
            (400, "BadRequest", json!(null), Reason::Refused),
            (429, "TooManyRequests", json!({"retryAfterSeconds": 7}), Reason::Unavailable { code: 429 }),
            (409, "Conflict", json!(null), Reason::Unavailable { code: 409 }),
        ] {
            let status = json!({
                "kind": "Status", "metadata": null, "status": "Failure", "message": null, "reason": reason,
                "details": details, "code": code,
            });
            assert_eq!(RequestError::event(status.clone()).reason, expected, "{status}");
            let answer = RequestError::answer(StatusCode::IM_A_TEAPOT, status.to_string().as_bytes(), None);
            assert_eq!(answer.reason, expected, "the code of the answer does not matter: {status}");
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
                let error = RequestError::answer(
                    StatusCode::from_u16(code).unwrap(),
                    body.as_bytes(),
                    Some(Duration::from_secs(9)),
                );
                assert_eq!(error.reason, Reason::Gateway { code }, "{body}");
                assert_eq!(error.retry_after, Some(Duration::from_secs(9)));
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
    }
}
