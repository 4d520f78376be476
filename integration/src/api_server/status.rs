//! Refusals, as `Status` objects (meta/v1).

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use portolan::api::protobuf::MEDIA_TYPE;
use serde_json::{Value, json};

use super::Resource;

/// Why a request is refused.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
    details: Value,
    retry_after: Option<u32>,
}

impl Refusal {
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, reason: reason(code), message: message.into(), details: Value::Null, retry_after: None }
    }

    /// The requested version is forgotten.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, message)
    }

    /// The requested version does not exist yet. A real server waits for it, for three seconds.
    pub fn too_large(version: u64, current: u64) -> Self {
        let message = "Too large resource version";
        let details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": message}],
            "retryAfterSeconds": 1,
        });
        let refusal = Self::new(504, format!("Timeout: {message}: {version}, current: {current}"));
        Self { details, retry_after: Some(1), ..refusal }
    }

    /// A parameter of a list or watch is invalid.
    pub fn invalid(field: &str, message: &str) -> Self {
        let message = format!("Forbidden: {message}");
        let details = json!({
            "group": "meta.k8s.io",
            "kind": "ListOptions",
            "causes": [{"reason": "FieldValueForbidden", "message": message, "field": field}],
        });
        let refusal = Self::new(422, format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}"));
        Self { details, ..refusal }
    }

    /// A user may not use this verb on a resource.
    pub fn forbidden(user: &str, verb: &str, resource: &str) -> Self {
        let group = Resource::ALL.into_iter().find(|known| known.name() == resource);
        let group = group.and_then(|known| known.version().split_once('/')).map_or("", |(group, _)| group);
        let refusal = Self::new(
            403,
            format!(
                "{resource} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group \
                 {group:?} at the cluster scope"
            ),
        );
        Self { details: json!({"kind": resource}), ..refusal }
    }

    /// The server does not have the resource.
    pub fn unknown_resource() -> Self {
        let refusal = Self::new(404, "the server could not find the requested resource");
        Self { details: json!({}), ..refusal }
    }

    /// The server has no representation that the client accepts.
    pub fn not_acceptable() -> Self {
        let types = "application/json, application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                     application/vnd.kubernetes.protobuf;stream=watch";
        let refusal = Self::new(406, format!("406: Not Acceptable\n\nAvailable representations: {types}"));
        Self { details: json!({}), ..refusal }
    }

    /// Sets `Retry-After`, in seconds.
    pub fn retry_after(self, seconds: Option<u32>) -> Self {
        Self { retry_after: seconds, ..self }
    }

    /// The response, in protobuf.
    pub fn into_protobuf(self) -> Response {
        let body = super::protobuf::status(&self.status());
        let mut response = self.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = body.into();
        response
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, Json(self.status())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The `reason` of a `Status`, as the API machinery names it.
fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "AlreadyExists",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}
