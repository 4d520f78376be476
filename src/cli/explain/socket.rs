//! Asks the agent on this node, over its Unix socket.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the agent may take for the next part of its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer, in bytes.
const LONGEST: u64 = 1 << 30;

/// Why the agent gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nobody listens there.
    #[error("{}: no agent listens there", .0.display())]
    Nobody(PathBuf),
    /// It is another user's.
    #[error("{}: only root may ask the agent that runs here; or give -f FILE or --kubeconfig FILE", .0.display())]
    Denied(PathBuf),
    /// It cannot be asked.
    #[error("{}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It refused to answer.
    #[error("the agent answered {code}: {message}")]
    Refused {
        /// Status code.
        code: u16,
        /// Why.
        message: String,
    },
}

/// Gets a path from the agent. The answer is whole, or an error.
pub fn get(socket: &Path, path: &str) -> Result<Vec<u8>, SocketError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => SocketError::Nobody(socket.to_owned()),
        io::ErrorKind::PermissionDenied => SocketError::Denied(socket.to_owned()),
        _ => SocketError::Io { path: socket.to_owned(), source },
    };
    let mut stream = UnixStream::connect(socket).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
    // Of version 1.0, the answer ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).map_err(fail)?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).map_err(fail)?;
    parse(answer).map_err(|message| SocketError::Refused { code: 0, message: message.to_owned() })?
}

/// Splits an answer into its code and body.
fn parse(mut answer: Vec<u8>) -> Result<Result<Vec<u8>, SocketError>, &'static str> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("it is cut off")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("it has no status code")?;
    if code == 200 {
        return Ok(Ok(body));
    }
    let message = String::from_utf8_lossy(&body).trim().to_owned();
    Ok(Err(SocketError::Refused { code, message }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_and_refusals_are_errors() {
        let parsed = |text: &str| parse(text.as_bytes().to_vec());
        assert_eq!(parsed("HTTP/1.0 200 OK\r\na: b\r\n\r\nx\r\n\r\ny").unwrap().unwrap(), b"x\r\n\r\ny");
        let refused = parsed("HTTP/1.0 503 Service Unavailable\r\n\r\nbusy\n").unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "the agent answered 503: busy");
        assert!(parsed("HTTP/1.0 200 OK\r\n").is_err() && parsed("").is_err());
        assert!(parsed("x\r\n\r\n").is_err());
    }

    #[test]
    fn nobody_is_told_from_what_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        assert!(matches!(get(&path, "/"), Err(SocketError::Nobody(_))));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(get(&path, "/"), Err(SocketError::Nobody(_))), "its process is gone");
    }
}
