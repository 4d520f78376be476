//! Headless Chromium in a namespace of the lab, controlled with the `WebDriver` protocol.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use portolan_integration::{Namespace, send};
use serde_json::{Value, json};

use crate::scene::wait_until;

/// The port of chromedriver.
const DRIVER: u16 = 9515;

/// The key of an element's id in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page.
pub struct Browser {
    driver: Child,
    namespace: Namespace,
    session: String,
    /// The directory for the browser's files.
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts chromedriver and Chromium in this namespace.
    pub fn start(namespace: &Namespace) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command
            .arg(format!("--port={DRIVER}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Without a home directory Chromium finds no place to write.
        command.env("HOME", profile.path());
        let driver = namespace.enter(move || command.spawn()).unwrap_or_else(|error| {
            panic!(
                "this test needs Chromium, apt-get install chromium chromium-driver: chromedriver: {error}"
            )
        });
        let mut browser =
            Self { driver, namespace: namespace.clone(), session: String::new(), _profile: profile };
        wait_until("chromedriver answers", || {
            let answer = send(namespace, driver_address(), "GET", "/status", None);
            answer.is_some_and(|answer| answer.code == 200)
        });
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let session = browser.ask(
            "POST",
            "/session",
            Some(&json!({ "capabilities": { "alwaysMatch": {
                "goog:chromeOptions": { "args": arguments },
                "goog:loggingPrefs": { "browser": "ALL" },
            } } })),
        );
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    /// Sends a request to chromedriver and returns the value of its answer; an error fails the test.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let path = format!("{}{path}", self.session);
        let answer = send(&self.namespace, driver_address(), method, &path, body).ok_or("no answer")?;
        let mut json = answer.json();
        if answer.code == 200 { Ok(json["value"].take()) } else { Err(json["value"].to_string()) }
    }

    /// Opens a page.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", Some(&json!({ "url": url })));
    }

    /// Returns the URL of the page.
    #[track_caller]
    pub fn url(&self) -> String {
        self.ask("GET", "/url", None).as_str().unwrap().to_owned()
    }

    fn element(&self, selector: &str) -> Result<String, String> {
        let question = json!({ "using": "css selector", "value": selector });
        let found = self.try_ask("POST", "/element", Some(&question))?;
        Ok(format!("/element/{}", found[ELEMENT].as_str().ok_or("no element")?))
    }

    /// Returns the shown text of the element with this selector, or an empty text while there is none.
    pub fn text(&self, selector: &str) -> String {
        let text =
            self.element(selector).and_then(|element| self.try_ask("GET", &format!("{element}/text"), None));
        text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Waits until the text of an element contains this.
    #[track_caller]
    pub fn wait_for(&self, selector: &str, part: &str) {
        wait_until(&format!("{selector} shows {part:?}"), || self.text(selector).contains(part));
    }

    /// Clicks an element.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.element(selector).unwrap();
        self.ask("POST", &format!("{element}/click"), Some(&json!({})));
    }

    /// Replaces the text of a field.
    #[track_caller]
    pub fn enter(&self, selector: &str, text: &str) {
        let element = self.element(selector).unwrap();
        self.ask("POST", &format!("{element}/clear"), Some(&json!({})));
        self.ask("POST", &format!("{element}/value"), Some(&json!({ "text": text })));
    }

    /// Returns the browser's complaints: errors of the script, violations of the policy, missing files.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", Some(&json!({ "type": "browser" })));
        entries.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }
}

fn driver_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, DRIVER).into()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium, which chromedriver started.
        let _ = self.try_ask("DELETE", "", None);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
