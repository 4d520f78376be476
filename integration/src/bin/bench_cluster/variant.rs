//! The protocols and encodings between the API server and the agent.

use super::{Result, server::Server};

/// A protocol, an encoding, and whether lists are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    is_http2: bool,
    is_json: bool,
    is_compressed: bool,
}

impl Default for Variant {
    fn default() -> Self {
        Self { is_http2: true, is_json: false, is_compressed: true }
    }
}

impl Variant {
    /// All variants that are measured; the first is the default.
    pub fn all() -> [Self; 6] {
        let with = |is_http2, is_json, is_compressed| Self { is_http2, is_json, is_compressed };
        [
            Self::default(),
            with(true, true, true),
            with(true, false, false),
            with(true, true, false),
            with(false, false, true),
            with(false, true, false),
        ]
    }

    /// Whether a server that cannot be reconfigured may serve this variant.
    pub fn is_for_any_server(self) -> bool {
        self.is_http2 && self.is_compressed
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match (self.is_http2, self.is_json, self.is_compressed) {
            (true, false, true) => "HTTP/2, protobuf, gzip",
            (true, true, true) => "HTTP/2, JSON, gzip",
            (true, false, false) => "HTTP/2, protobuf",
            (true, true, false) => "HTTP/2, JSON",
            (false, false, true) => "HTTP/1.1, protobuf, gzip",
            (false, true, true) => "HTTP/1.1, JSON, gzip",
            (false, false, false) => "HTTP/1.1, protobuf",
            (false, true, false) => "HTTP/1.1, JSON",
        }
    }

    /// The arguments of the agent.
    pub fn arguments(self) -> &'static [&'static str] {
        if self.is_json { &["--kube-api-content-type", "application/json"] } else { &[] }
    }

    /// Makes the server use this variant.
    pub fn prepare(self, server: &mut Server) -> Result<()> {
        if let Server::Test(server) = server {
            server.offer_http2(self.is_http2)?;
            server.compress(self.is_compressed);
        }
        Ok(())
    }
}
