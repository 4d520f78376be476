//! `top`: a live view of the Services of this node.

mod frame;
mod model;
mod news;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    sync::mpsc::{Sender, channel},
};

use portolan_rules::model::ObjectName;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    model::{Action, Model},
    news::News,
    reader::Reader,
};
use super::{arguments::TopArgs, explain};
use crate::config::settings::socket_path;

/// Shows the view until a key or a signal ends it: exit status 0, or 2 for an error.
pub fn top(args: &TopArgs) -> ExitCode {
    if !io::stdout().is_terminal() {
        eprintln!(
            "portolan: top draws on a terminal, and standard output is not one; `portolan get services -A --watch` prints lines"
        );
        return explain::error();
    }
    let socket = args.socket.clone().unwrap_or_else(|| socket_path(&args.table_name));
    let opened = args.service.as_deref().map(|name| {
        let default = args.namespace.as_deref().unwrap_or("default");
        let (namespace, name) = name.split_once('/').unwrap_or((default, name));
        ObjectName::new(namespace, name)
    });
    let mut reader = Reader::new(socket, args.namespace.as_deref(), opened.clone());
    // What is wrong from the start is said in a line, on the terminal as it is.
    let first = match reader.look() {
        Ok(first) => first,
        Err(error) => {
            super::output::fail(&error);
            return explain::error();
        }
    };
    let mut model = Model::new(args.sort, opened);
    model.take(first);
    match show(model, reader) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portolan: the terminal cannot be used: {error}");
            explain::error()
        }
    }
}

/// Draws until the end. The terminal is then as it was.
fn show(mut model: Model, mut reader: Reader) -> io::Result<()> {
    // Also has a panic restore the terminal.
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
            Ok(News::Key(key)) => {
                if let Action::Open(opened) = model.press(key) {
                    // The reader is there as long as its news are.
                    let _ = ask.send(opened);
                }
            }
            Ok(News::Resized) => {}
            Ok(News::End(None)) | Err(_) => break,
            Ok(News::End(Some(error))) => result = Err(error),
        }
    }
    result.and(ratatui::try_restore())
}

/// Threads that wait for keys and for signals. They end with the process.
fn follow_terminal(news: Sender<News>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let [mut terminate, mut hangup, mut interrupt] = {
        let _guard = runtime.enter();
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [terminate, hangup, interrupt] = kinds.map(signal);
        [terminate?, hangup?, interrupt?]
    };
    let ended = news.clone();
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        // The receiver is gone if the view has ended.
        let _ = ended.send(News::End(None));
    });
    std::thread::spawn(move || {
        loop {
            let sent = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => news.send(News::Key(key)),
                Ok(Event::Resize(..)) => news.send(News::Resized),
                Ok(_) => Ok(()),
                Err(error) => {
                    let _ = news.send(News::End(Some(error)));
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(())
}
