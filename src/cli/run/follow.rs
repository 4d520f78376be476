//! Follows the configuration file, and stops the agent when the configuration changes.

use std::{io, path::Path, sync::Arc, thread};

use tracing::{error, info, warn};

use crate::{
    agent::{Ending, Event, Sender},
    cli::run::RunArgs,
    config::settings::RunSettings,
    watch::FileWatch,
};

/// Watches the configuration file, if there is one, on a thread of its own. An invalid file does not stop the agent: the
/// next start would fail, and it can go on with the configuration that it has.
pub fn follow(args: &RunArgs, settings: &RunSettings, events: Sender) -> io::Result<()> {
    let Some(file) = &settings.origin.file else { return Ok(()) };
    let file = Arc::from(file.as_path());
    let mut follower = Follower { args: args.clone(), running: settings.clone(), file, problem: None };
    let following = move || match follower.wait_for_change() {
        // The queue is closed if the agent is stopping anyway.
        Ok(()) => _ = events.send(Event::Stop(Ending::Failed)),
        Err(err) => error!(%err, "Configuration file cannot be watched; changes are no longer seen"),
    };
    thread::Builder::new().name("configuration".into()).spawn(following).map(drop)
}

struct Follower {
    args: RunArgs,
    running: RunSettings,
    file: Arc<Path>,
    /// The last problem with the file.
    problem: Option<String>,
}

impl Follower {
    /// Returns once the configuration is another one.
    fn wait_for_change(&mut self) -> io::Result<()> {
        let mut watch = FileWatch::new(|_| false);
        loop {
            // Watched before it is read, the file cannot change unnoticed in between.
            let (is_new, problem) = watch.set([&self.file].into_iter());
            if let Some(err) = problem {
                let path = self.file.display();
                warn!(%path, err, "Configuration file cannot be watched, so it is checked every second");
            }
            if self.has_changed() {
                return Ok(());
            }
            watch.looked(is_new);
            watch.wait(None)?;
        }
    }

    fn has_changed(&mut self) -> bool {
        let path = self.file.display();
        let problem = match self.args.settings() {
            Ok(new) => {
                let changes = new.options.changes_from(&self.running.options).join(", ");
                if !changes.is_empty() {
                    error!(
                        %path,
                        changes,
                        "Configuration file changed; exiting so that the supervisor restarts with the new configuration"
                    );
                    return true;
                }
                if self.problem.take().is_some() {
                    info!(%path, "Configuration file is valid again");
                }
                return false;
            }
            Err(_) if self.file.try_exists().is_ok_and(|exists| !exists) => "it is gone".to_owned(),
            Err(error) => error.to_string(),
        };
        if self.problem.as_ref() != Some(&problem) {
            error!(
                %path,
                err = problem,
                "Configuration file changed but cannot be used; continuing with the previous configuration"
            );
        }
        self.problem = Some(problem);
        false
    }
}
