//! Responses that a test has prepared, in place of the server's own.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
    response::Response,
};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long it takes at most to send pending data.
const FLUSH: Duration = Duration::from_millis(100);

/// One response.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    text: Vec<u8>,
    then: Then,
}

/// What follows the text.
#[derive(Debug)]
enum Then {
    End,
    Break,
    Wait,
    Repeat,
    Feed(UnboundedReceiver<String>),
}

/// Continues a response that is being read; dropping it ends the response.
#[derive(Debug)]
pub struct Feed(UnboundedSender<String>);

impl Feed {
    /// Sends a line.
    pub fn send(&self, line: &Value) {
        self.send_text(&line.to_string());
    }

    /// Sends lines that arrive at once, if the connection is still open.
    pub fn send_text(&self, lines: &str) {
        let _ = self.0.send(format!("{lines}\n"));
    }
}

impl Reply {
    /// A document.
    pub fn json(document: &Value) -> Self {
        Self::text(document.to_string())
    }

    /// Any text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::bytes(text.into().into_bytes())
    }

    /// Any bytes.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), text: bytes, then: Then::End }
    }

    /// The lines of a watch, after which it ends.
    pub fn lines(lines: impl IntoIterator<Item = Value>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(|line| line.to_string() + "\n").collect();
        Self::text(lines.concat())
    }

    /// A refusal: a `Status`, sent with its own code.
    ///
    /// # Panics
    /// If it has no code.
    pub fn refuse(status: &Value) -> Self {
        let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        Self::json(status).with_status(code.unwrap_or_else(|| panic!("{status} has no code")))
    }

    /// Sets a status other than 200.
    ///
    /// # Panics
    /// If the status is invalid.
    #[must_use]
    pub fn with_status(mut self, code: u16) -> Self {
        self.status = StatusCode::from_u16(code).unwrap_or_else(|error| panic!("{code}: {error}"));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Breaks the connection instead of ending the response.
    #[must_use]
    pub fn and_break(mut self) -> Self {
        self.then = Then::Break;
        self
    }

    /// Sends nothing more, not even an end.
    #[must_use]
    pub fn and_wait(mut self) -> Self {
        self.then = Then::Wait;
        self
    }

    /// Repeats the text without end.
    #[must_use]
    pub fn and_repeat(mut self) -> Self {
        self.then = Then::Repeat;
        self
    }

    /// Sends more whenever the test provides it.
    #[must_use]
    pub fn and_feed(mut self) -> (Self, Feed) {
        let (sender, receiver) = unbounded_channel();
        self.then = Then::Feed(receiver);
        (self, Feed(sender))
    }

    pub(super) fn into_response(self) -> Response {
        let text = Bytes::from(self.text);
        let first = stream::iter([Ok::<_, std::io::Error>(text.clone())]);
        let body = match self.then {
            Then::End => Body::from(text),
            Then::Break => {
                // The text must be sent before the connection breaks.
                let cut = async {
                    tokio::time::sleep(FLUSH).await;
                    Err(std::io::Error::other("cut"))
                };
                Body::from_stream(first.chain(stream::once(cut)))
            }
            Then::Wait => Body::from_stream(first.chain(stream::pending())),
            Then::Repeat => Body::from_stream(first.chain(stream::repeat_with(move || Ok(text.clone())))),
            Then::Feed(receiver) => {
                let more = stream::unfold(receiver, async |mut receiver| {
                    Some((Ok(Bytes::from(receiver.recv().await?)), receiver))
                });
                Body::from_stream(first.chain(more))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
