//! The files that benchmarks write their figures to and read them from.

use std::{error::Error, fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};

/// The files to write figures to and read them from.
#[derive(Debug, clap::Args)]
pub struct Figures {
    /// Also write the figures to this file. Figures in the file that were not measured now are kept.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure nothing: take the figures that an earlier run wrote with --json.
    #[arg(long)]
    from: Option<PathBuf>,
}

impl Figures {
    /// Measures, and completes the figures from those in the file, which is then rewritten; or reads the figures of an
    /// earlier run.
    ///
    /// # Errors
    /// Measuring fails, or a file cannot be read or written. A file that cannot be read completes nothing.
    pub fn get<T: DeserializeOwned + Serialize>(
        &self,
        measure: impl FnOnce() -> Result<T, Box<dyn Error>>,
        complete: impl FnOnce(&mut T, T),
    ) -> Result<T, Box<dyn Error>> {
        let read = |path: &PathBuf| -> Result<T, Box<dyn Error>> {
            Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
        };
        let figures = if let Some(path) = &self.from {
            read(path)?
        } else {
            let mut figures = measure()?;
            if let Some(earlier) = self.json.as_ref().and_then(|path| read(path).ok()) {
                complete(&mut figures, earlier);
            }
            figures
        };
        if let Some(path) = &self.json {
            fs::write(path, format!("{}\n", serde_json::to_string_pretty(&figures)?))?;
        }
        Ok(figures)
    }
}
