//! Checks whether the kernel accepts the rules, by committing them in a network namespace that ends with the check.

use nix::sched::{CloneFlags, unshare};
use portolan_rules::{
    compile::Compiler,
    model::Node,
    plane::Config,
    ruleset::{Ruleset, diff},
    state::State,
};

use super::outcome::Check;
use crate::kernel::nftables::{Error, Kernel, Served, Tables};

const NAME: &str = "kernel";

/// How far the kernel was tried: what it serves, its release, and how many operations it committed, or `None` if there
/// was no namespace to commit them in.
type Trial = (Served, String, Option<usize>);

pub fn check(config: &Config) -> Vec<Check> {
    let config = config.clone();
    // A thread can leave the namespace of its process.
    let trial = std::thread::spawn(move || try_rules(&config)).join();
    let (Served { families, warnings }, release, committed) = match trial {
        Ok(Ok(trial)) => trial,
        Ok(Err(Error::Permission)) => {
            return vec![Check::skipped(NAME, "only CAP_NET_ADMIN may try what the kernel can do")];
        }
        Ok(Err(error)) => {
            let hint = "load the module, or choose another kernel; docs/limits.md lists what is needed";
            return vec![Check::failed(NAME, error.to_string(), hint)];
        }
        Err(_) => return vec![Check::skipped(NAME, "the kernel could not be tried")],
    };
    let families: Vec<String> = families.iter().map(ToString::to_string).collect();
    let how = match committed {
        Some(operations) => format!("committed all {operations} operations in a namespace of its own"),
        None => "accepts each of their parts".to_owned(),
    };
    let message = format!("Linux {release} {how}; families: {}", families.join(", "));
    let mut checks = vec![Check::ok(NAME, message)];
    checks.extend(warnings.into_iter().map(|warning| Check::warning(NAME, warning, "")));
    checks
}

/// Commits the rules without Services in a network namespace. Without the right to create one, the kernel is only asked
/// about the parts of the rules, in the current namespace, where nothing is committed.
fn try_rules(config: &Config) -> Result<Trial, Error> {
    let is_apart = unshare(CloneFlags::CLONE_NEWNET).is_ok();
    let mut kernel = Kernel::open()?;
    let features = kernel.probe(&config.table)?;
    let served = features.serve(config)?;
    let release = features.release.to_string();
    if !is_apart {
        return Ok((served, release, None));
    }
    let mut compiler = Compiler::new(Config { families: served.families.clone(), ..config.clone() });
    compiler.load(&mut State::new(Node::default()), &Ruleset::default());
    let transaction = diff::diff_into(&config.table, &Ruleset::default(), compiler.ruleset());
    kernel.commit(&transaction)?;
    Ok((served, release, Some(transaction.operations.len())))
}
