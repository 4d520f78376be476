//! `top`: a live view of the Services of this node.

mod arguments;
mod frame;
mod model;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    sync::mpsc::{Sender, channel},
};

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

pub use self::arguments::{HELP, TopArgs};
use self::{
    model::{Action, Model},
    reader::{News, Reader},
};
use super::{explain::object_name, output::Ended};
use crate::config::settings::socket_path;

/// Shows the view until a key or a signal ends it. Exit status: 0, or 2 for an error.
pub fn top(args: &TopArgs) -> Ended {
    if !io::stdout().is_terminal() {
        return Err(
            "top draws on a terminal, and standard output is not one; `portolan get services -A --watch` prints lines".into()
        );
    }
    let socket = args.socket.clone().unwrap_or_else(|| socket_path(&args.table_name));
    let namespace = args.namespace.as_deref();
    let opened = args.service.as_deref().map(|name| object_name(name, namespace.unwrap_or("default")));
    let mut reader = Reader::new(socket, namespace, opened.clone());
    let mut model = Model::new(args.sort, opened);
    // The first look comes before the view, so that an error is printed in a line on the unchanged terminal.
    model.take(reader.look()?);
    show(model, reader).map_err(|error| format!("the terminal cannot be used: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws until the view ends, and then restores the terminal.
fn show(mut model: Model, mut reader: Reader) -> io::Result<()> {
    // After this, a panic restores the terminal as well.
    let mut terminal = ratatui::try_init()?;
    let (sender, news) = channel();
    let (ask, asked) = channel();
    let mut result = follow_terminal(sender.clone());
    std::thread::spawn(move || reader.run(&asked, &sender));
    while result.is_ok() && !model.is_over() {
        if let Err(error) = terminal.draw(|frame| frame::draw(frame, &model)) {
            result = Err(error);
            break;
        }
        match news.recv() {
            Ok(News::Look(look)) => model.take(*look),
            Ok(News::Lost(why)) => model.lose(why),
            Ok(News::Terminal(Ok(Event::Key(key)))) if key.kind != KeyEventKind::Release => {
                if let Action::Open(opened) = model.press(key) {
                    // The reader runs as long as `news` is open.
                    let _ = ask.send(opened);
                }
            }
            Ok(News::Terminal(event)) => result = event.map(drop),
            Ok(News::End) | Err(_) => break,
        }
    }
    result.and(ratatui::try_restore())
}

/// Starts threads that wait for keys and for signals. They end with the process.
fn follow_terminal(news: Sender<News>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT])?;
    let ended = news.clone();
    std::thread::spawn(move || {
        signals.forever().next();
        // The receiver is gone if the view has ended.
        let _ = ended.send(News::End);
    });
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if news.send(News::Terminal(event)).is_err() || is_last {
                return;
            }
        }
    });
    Ok(())
}
