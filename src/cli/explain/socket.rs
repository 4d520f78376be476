//! Asks the agent on this node, over its Unix socket.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the agent may take for the next part of its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer, in bytes.
const LONGEST: u64 = 1 << 30;

/// The longest head of an answer, in bytes.
const LONGEST_HEAD: u64 = 64 << 10;

/// The size of the buffer for reading, in bytes.
const BUFFER: usize = 64 << 10;

/// Why the agent gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No agent listens there.
    #[error("{}: no agent listens there", .0.display())]
    NoAgent(PathBuf),
    /// This user may not connect to the socket.
    #[error("{}: only root may ask the agent that runs here; or give -f FILE or --kubeconfig FILE", .0.display())]
    Denied(PathBuf),
    /// The socket cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The agent refused to answer.
    #[error("the agent answered {code}: {message}")]
    Refused {
        /// Status code.
        code: u16,
        /// Why.
        message: String,
    },
    /// The answer is not the expected text.
    #[error("the agent's answer cannot be read (is it of another version?): {0}")]
    Text(#[from] serde_json::Error),
    /// The answer does not contain the expected values.
    #[error("the agent's answer cannot be read (is it of another version?): {0}")]
    Values(#[from] rmp_serde::decode::Error),
}

/// Asks the agent for a path. The answer is read as it arrives. Its content shows whether it is complete.
pub fn ask(socket: &Path, path: &str) -> Result<impl BufRead + use<>, AgentError> {
    let fail = |source| failure(socket, source);
    let mut stream = UnixStream::connect(socket).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
    // In HTTP/1.0, the answer ends when the connection ends.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).map_err(fail)?;
    let mut answer = BufReader::with_capacity(BUFFER, stream.take(LONGEST));
    let code = code(&mut answer).map_err(fail)?;
    if code == 200 {
        return Ok(answer);
    }
    let mut message = String::new();
    answer.read_to_string(&mut message).map_err(fail)?;
    Err(AgentError::Refused { code, message: message.trim().to_owned() })
}

/// Asks the agent for a path, and returns the whole answer.
pub fn get(socket: &Path, path: &str) -> Result<Vec<u8>, AgentError> {
    let mut body = Vec::new();
    ask(socket, path)?.read_to_end(&mut body).map_err(|source| failure(socket, source))?;
    Ok(body)
}

fn failure(socket: &Path, source: io::Error) -> AgentError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AgentError::NoAgent(socket.to_owned()),
        io::ErrorKind::PermissionDenied => AgentError::Denied(socket.to_owned()),
        _ => AgentError::Io { path: socket.to_owned(), source },
    }
}

/// Reads the head of an answer, up to the body. Returns the status code.
fn code(answer: &mut impl BufRead) -> io::Result<u16> {
    let invalid = |message| io::Error::new(io::ErrorKind::InvalidData, message);
    let mut head = answer.take(LONGEST_HEAD);
    let mut line = || -> io::Result<String> {
        let mut line = String::new();
        head.read_line(&mut line)?;
        if line.ends_with('\n') { Ok(line) } else { Err(invalid("the answer is cut off")) }
    };
    let status = line()?;
    let code = status.split(' ').nth(1).and_then(|code| code.trim().parse().ok());
    let code = code.ok_or_else(|| invalid("the answer has no status code"))?;
    while !line()?.trim().is_empty() {}
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_follows_a_head_that_is_whole() {
        let read = |text: &str| {
            let mut answer = text.as_bytes();
            code(&mut answer).map(|code| (code, answer.to_vec()))
        };
        assert_eq!(read("HTTP/1.0 200 OK\r\na: b\r\n\r\nx\r\n\r\ny").unwrap(), (200, b"x\r\n\r\ny".to_vec()));
        assert_eq!(read("HTTP/1.0 503\r\n\r\nbusy\n").unwrap(), (503, b"busy\n".to_vec()));
        for text in ["HTTP/1.0 200 OK\r\n", "HTTP/1.0 200 OK", "", "x\r\n\r\n", "HTTP/1.0 x\r\n\r\n"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_missing_agent_is_another_error_than_a_refusal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        assert!(matches!(get(&path, "/"), Err(AgentError::NoAgent(_))));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(get(&path, "/"), Err(AgentError::NoAgent(_))), "its process is gone");
    }
}
