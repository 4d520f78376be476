//! The same rules, loaded by `nft -f`.

use std::{
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use portolan_integration::synthetic::{Kinds, Synthetic};
use portolan_rules::{print, ruleset::Ruleset};

use super::{
    Result,
    arena::{best, compiler, fresh_kernel, retire},
    cold,
    figure::Figure,
};

/// How often each is measured.
const ROUNDS: usize = 3;
/// After how many seconds nft is stopped.
const LIMIT: &str = "120";

/// A cold start ÷ `nft -f`.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let mut state = Synthetic::new(services, Kinds::Plain).state();
    let mut whole = compiler();
    whole.load(&mut state, &Ruleset::default());
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(print::nft(&whole.ruleset()).as_bytes())?;
    drop(whole);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..if services > 10_000 { 1 } else { ROUNDS } {
        theirs.push(nft(file.path())?);
        ours.push(cold::once(&mut state)?.0.elapsed);
    }
    let (ours, theirs) = (best(ours).as_secs_f64(), best(theirs).as_secs_f64());
    Ok(vec![Figure::new("nft", ours / theirs).with(format!("{ours:.2} ÷ {theirs:.2} s"))])
}

fn nft(rules: &std::path::Path) -> Result<Duration> {
    let kernel = fresh_kernel()?;
    let started = Instant::now();
    let status = Command::new("timeout").args([LIMIT, "nft", "-f"]).arg(rules).status()?;
    let elapsed = started.elapsed();
    if !status.success() {
        return Err(format!("nft -f: {status} after {elapsed:?}").into());
    }
    retire(kernel)?;
    Ok(elapsed)
}
