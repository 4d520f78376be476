//! Follows the configuration file, and stops the agent when the configuration changes.

use std::{io, path::Path, sync::Arc, thread};

use tracing::{error, info, warn};

use crate::{
    agent::{Ending, Event, Sender},
    cli::run::RunArgs,
    config::{Options, settings::RunSettings},
    watch::FileWatch,
};

/// Watches the configuration file, if there is one, on a separate thread. An invalid file does not stop the agent: the
/// next start would fail, and the agent can continue with its current configuration.
pub fn follow(args: &RunArgs, settings: &RunSettings, events: Sender) -> io::Result<()> {
    let Some(file) = &settings.origin.file else { return Ok(()) };
    let (args, running, file) = (args.clone(), settings.options.clone(), Arc::from(file.as_path()));
    let following = move || match wait_for_change(&args, &running, &file) {
        // The queue is closed if the agent is stopping anyway.
        Ok(()) => _ = events.send(Event::Stop(Ending::Failed)),
        Err(error) => error!(%error, "Configuration file cannot be watched; changes are no longer seen"),
    };
    thread::Builder::new().name("configuration".into()).spawn(following).map(drop)
}

/// Returns once the configuration has changed.
fn wait_for_change(args: &RunArgs, running: &Options, file: &Arc<Path>) -> io::Result<()> {
    let path = file.display();
    let mut watch = FileWatch::new(|_| false);
    let mut known = None;
    loop {
        // The file is watched before it is read, so that no change in between is missed.
        let (is_new, problem) = watch.set([file].into_iter());
        if let Some(error) = problem {
            warn!(%path, error, "Configuration file cannot be watched, so it is checked every second");
        }
        let problem = match args.settings() {
            Ok(new) => {
                let changes = new.options.changes_from(running).join(", ");
                if !changes.is_empty() {
                    error!(
                        %path,
                        changes,
                        "Configuration file changed; exiting so that the supervisor restarts with the new configuration"
                    );
                    return Ok(());
                }
                None
            }
            Err(_) if file.try_exists().is_ok_and(|exists| !exists) => Some("it is gone".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        match &problem {
            None if known.is_some() => info!(%path, "Configuration file is valid again"),
            Some(error) if problem != known => error!(
                %path,
                error,
                "Configuration file changed but cannot be used; continuing with the previous configuration"
            ),
            _ => {}
        }
        known = problem;
        watch.looked(is_new);
        watch.wait(None)?;
    }
}
