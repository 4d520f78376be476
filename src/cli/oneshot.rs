//! `render` and `diff`: what the rules are, and what would change.

use std::process::ExitCode;

use portolan_rules::{
    compile::{Compiler, Severity},
    print,
    restart::leftovers::Leftovers,
    ruleset::{Ruleset, diff},
};

use super::input::{self, Input};
use crate::{
    cli::arguments::{InputArgs, Output, RenderArgs},
    config::settings::Settings,
    kernel::nftables::{Error, Kernel, Needs, Tables},
    source::manifest::Completeness,
};

/// Prints the ruleset for this node.
pub fn render(args: &RenderArgs) -> ExitCode {
    let input = match input::read(&args.input) {
        Ok(input) => input,
        Err(error) => return super::fail(&error),
    };
    // `nft -f` removes the rules of Services that are not printed; those of a whole path must stay.
    if input.completeness == Completeness::Nothing || input.is_path_missing {
        return ExitCode::FAILURE;
    }
    let compiled = match compile(input, |_| Ok(Ruleset::default())) {
        Ok(compiled) => compiled,
        Err(error) => return super::fail(&error),
    };
    let text = match args.output {
        Output::Nft => print::nft(&compiled.desired),
        Output::Json => format!("{:#}\n", print::json(&compiled.desired)),
    };
    match super::print(text.as_bytes()) {
        ExitCode::SUCCESS if compiled.is_complete => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Prints what would change in the kernel: exit status 0 nothing, 1 something, 2 an error.
pub fn diff(args: &InputArgs) -> ExitCode {
    let error = ExitCode::from(2);
    let mut input = match input::read(args) {
        Ok(input) => input,
        Err(failure) => {
            super::fail(&failure);
            return error;
        }
    };
    if input.completeness == Completeness::Nothing {
        return error;
    }
    let table = input.settings.config.table.clone();
    let compiled = open(&mut input.settings)
        .and_then(|mut kernel| compile(input, |compiler| kernel.read(&table, &mut &*compiler)));
    let Compiled { kernel, desired, is_complete } = match compiled {
        Ok(compiled) => compiled,
        Err(failure) => {
            super::fail(&failure);
            return error;
        }
    };
    let transaction = diff::diff_into(&table, &kernel, desired);
    let mut text = String::new();
    for (family, operation) in &transaction.operations {
        text.push_str(&print::operation(operation, *family, &table));
        text.push('\n');
    }
    match super::print(text.as_bytes()) {
        ExitCode::SUCCESS if !is_complete => error,
        ExitCode::SUCCESS if transaction.is_empty() => ExitCode::SUCCESS,
        ExitCode::SUCCESS => ExitCode::from(1),
        _ => error,
    }
}

/// Takes those families out of the settings that `run` would leave out on this kernel.
fn open(settings: &mut Settings) -> Result<Kernel, Error> {
    let config = &mut settings.config;
    let mut kernel = Kernel::open()?;
    let features = kernel.probe(&config.table)?;
    let served = features.serve(Needs { element_counters: config.endpoint_counters })?;
    for warning in served.warnings {
        eprintln!("portolan: warning: {warning}");
    }
    config.families = served.families;
    Ok(kernel)
}

/// What was compiled.
struct Compiled {
    /// What the kernel has.
    kernel: Ruleset,
    /// What it is to have.
    desired: Ruleset,
    /// Whether all of the input could be used.
    is_complete: bool,
}

/// Compiles the input against what the kernel has, of which nothing goes while the input is incomplete.
fn compile(
    mut input: Input,
    read: impl FnOnce(&Compiler) -> Result<Ruleset, Error>,
) -> Result<Compiled, Error> {
    let mut compiler = input.compiler();
    let Input { mut state, completeness, .. } = input;
    let is_whole = completeness == Completeness::Whole;
    let kernel = read(&compiler)?;
    let leftovers = (!is_whole).then(|| Leftovers::find(&kernel, &compiler, &mut state));
    let problems = compiler.load(&mut state, &kernel);
    for problem in &problems {
        match problem.severity {
            Severity::Error => eprintln!("portolan: {problem}"),
            Severity::Notice => eprintln!("portolan: warning: {problem}"),
        }
    }
    let all_programmed = problems.iter().all(|problem| problem.severity == Severity::Notice);
    let mut desired = compiler.ruleset();
    if let Some(leftovers) = leftovers {
        leftovers.keep(&mut desired, &compiler);
    }
    Ok(Compiled { kernel, desired, is_complete: is_whole && all_programmed })
}
