//! Responses of a real API server: recorded from kube-apiserver 1.36.2 with etcd 3.6, one exchange per file.
//!
//! A file (`api_server/recorded`) holds a remark, the request and its headers; the status line and the headers that
//! matter; the body. Lines of a watch begin with the seconds since the response began. Protobuf bodies are in
//! hexadecimal. The test API server is compared with these files, and the agent reads them.

use std::{fs, path::Path};

use serde_json::Value;

/// An exchange.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The name of the file, without its extension.
    pub name: String,
    /// Path and query of the request, a GET.
    pub url: String,
    /// `Accept` of the request.
    pub accept: String,
    /// Whether the request had a token.
    pub has_token: bool,
    /// Status code of the response.
    pub status: u16,
    /// Headers of the response, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body of the response; for a watch, its lines.
    pub body: String,
}

impl Recording {
    /// All recordings, by name.
    ///
    /// # Panics
    /// If a recording cannot be read.
    pub fn all() -> Vec<Self> {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api_server/recorded");
        let files = fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let mut all: Vec<Self> = files.flatten().map(|file| Self::read(&file.path())).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The recording of this name.
    ///
    /// # Panics
    /// If there is no such recording.
    pub fn named(name: &str) -> Self {
        let found = Self::all().into_iter().find(|recording| recording.name == name);
        found.unwrap_or_else(|| panic!("nothing is recorded as {name}"))
    }

    fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut parts = text.splitn(3, "\n\n");
        let mut part = || parts.next().unwrap_or_else(|| panic!("{name} has three parts"));
        let (request, answer, body) = (part(), part(), part());
        let headers = |part: &str| -> Vec<(String, String)> {
            let lines = part.lines().filter_map(|line| line.split_once(": "));
            lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
        };
        let line = request.lines().find_map(|line| line.strip_prefix("GET "));
        let url = line.and_then(|line| line.strip_suffix(" HTTP/1.1"));
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let value =
            |name| headers(request).into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
        Self {
            url: url.unwrap_or_else(|| panic!("{name} has a request")).to_owned(),
            accept: value("accept").unwrap_or_default(),
            has_token: value("authorization").is_some(),
            status: status.unwrap_or_else(|| panic!("{name} has a status")),
            headers: headers(answer),
            body: without_times(body),
            name,
        }
    }

    /// Whether the response is in protobuf.
    pub fn is_protobuf(&self) -> bool {
        self.accept.contains("protobuf")
    }

    /// Whether the request is for a watch.
    pub fn is_watch(&self) -> bool {
        self.url.contains("watch=true")
    }

    /// The body of a response in protobuf; for a watch, its frames, one after the other.
    ///
    /// # Panics
    /// If the body is not in hexadecimal.
    pub fn bytes(&self) -> Vec<u8> {
        let digits: Vec<char> = self.body.chars().filter(|c| !c.is_whitespace()).collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
        let bytes: Result<_, _> = digits.chunks(2).map(byte).collect();
        bytes.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// The lines of a watch.
    ///
    /// # Panics
    /// If a line is not JSON.
    pub fn events(&self) -> Vec<Value> {
        let event =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        self.body.lines().map(event).collect()
    }
}

/// The lines of a watch without the times before them and the remark about its end.
fn without_times(body: &str) -> String {
    if !body.starts_with('+') {
        return body.to_owned();
    }
    let lines = body.lines().filter_map(|line| line.split_once(' '));
    let lines = lines.filter(|(_, rest)| !rest.starts_with('('));
    lines.fold(String::new(), |text, (_, rest)| text + rest + "\n")
}
