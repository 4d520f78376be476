//! A command on a terminal.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portolan_integration::{Namespace, binary, eventually};

use crate::running::PATIENCE;

/// A command of the binary on a terminal of 80 columns and 24 lines.
pub struct Screen {
    child: Child,
    keyboard: File,
    terminal: Arc<Mutex<vt100::Parser>>,
    /// The thread that draws the command's output on the terminal.
    drawing: Option<JoinHandle<()>>,
}

impl Screen {
    /// Runs a command in a namespace.
    pub fn start(namespace: &Namespace, arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let ends = openpty(Some(&size), None).unwrap();
        let stdio = || Stdio::from(ends.slave.try_clone().unwrap());
        let mut command = Command::new(binary().unwrap());
        command.args(arguments).env("TERM", "xterm-256color").stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = namespace.enter(move || command.spawn()).unwrap();
        drop(ends.slave);
        let keyboard = File::from(ends.master);
        let mut output = keyboard.try_clone().unwrap();
        let terminal = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let shown = terminal.clone();
        let drawing = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The loop ends with the command, which holds the last open end of the terminal.
            while let Ok(length) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self { child, keyboard, terminal, drawing: Some(drawing) }
    }

    /// Returns the text on the screen.
    pub fn text(&self) -> String {
        self.terminal.lock().unwrap().screen().contents()
    }

    /// Whether the command uses the alternate screen.
    pub fn is_drawn_over(&self) -> bool {
        self.terminal.lock().unwrap().screen().alternate_screen()
    }

    /// Waits until the text on the screen meets a condition.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        assert!(eventually(PATIENCE, || is_so(&self.text())).is_some(), "not {what}:\n{}", self.text());
    }

    /// Waits for a line with all of these words in this order.
    #[track_caller]
    pub fn wait_for_line(&self, words: &[&str]) {
        let has_words = |line: &str| {
            let mut rest = line.split_whitespace();
            words.iter().all(|word| rest.any(|found| found == *word))
        };
        self.wait(&format!("a line {words:?}"), |text| text.lines().any(has_words));
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the end of the command.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let ended = eventually(PATIENCE, || self.child.try_wait().unwrap().is_some());
        assert!(ended.is_some(), "it goes on:\n{}", self.text());
        // Waits until all output is on the screen.
        self.drawing.take().unwrap().join().unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
