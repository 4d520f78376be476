//! Why a request to the API server did not do what it should.

use std::{error::Error, fmt::Write, time::Duration};

/// A failed request, or one that broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection, no answer, or the connection broke.
    #[error("{0}")]
    Transport(String),
    /// Nothing came for so long.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// The server said no, as the answer or as an `ERROR` event of a watch.
    #[error("the server answered {code}: {message}")]
    Status {
        /// HTTP status code.
        code: u16,
        /// `message` of the `Status` object, else the answer.
        message: String,
        /// What the server asks to wait (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The answer is not what the API documents.
    #[error("the answer cannot be understood: {0}")]
    Garbled(String),
}

impl Failure {
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
        Self::Transport(super::connect::explain(message))
    }

    /// An error of kube's client, without the word that it adds.
    pub fn client(error: &kube::Error) -> Self {
        if let kube::Error::Service(cause) = error {
            return Self::transport(&**cause);
        }
        Self::transport(error)
    }

    fn code(&self) -> Option<u16> {
        if let Self::Status { code, .. } = self { Some(*code) } else { None }
    }

    /// Whether the resource version, or the token of the next page, is too old: list anew.
    pub fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    /// Whether the server does not have streaming lists. Without the feature it refuses the parameters, 422 or
    /// 400; something between may refuse them as it likes.
    pub fn refuses_streaming(&self) -> bool {
        matches!(self.code(), Some(400 | 405 | 406 | 415 | 422 | 501))
    }

    /// Whether the kind of object is not served, or not to us.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.code(), Some(403 | 404))
    }

    /// Whether the server said no to what it was asked, rather than to being asked so often.
    pub fn is_refusal(&self) -> bool {
        self.code().is_some_and(|code| code != 429)
    }

    /// Whether the server cannot continue from this resource version, for whatever reason: after it was restored
    /// from a backup it may not even have got there (504, "Too large resource version").
    pub fn is_about_the_version(&self) -> bool {
        matches!(self.code(), Some(400 | 404 | 409 | 410 | 422 | 504))
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = Outer(std::io::Error::other("connection refused"));
        assert_eq!(Failure::transport(&error).to_string(), "outer: connection refused");
        let error = kube::Error::Service(Box::new(error));
        assert_eq!(Failure::client(&error).to_string(), "outer: connection refused");
    }
}
