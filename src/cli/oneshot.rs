//! `render` and `diff`: what the rules are, and what would change.

use std::process::ExitCode;

use portolan_rules::{
    compile::{Compiler, Severity},
    diff,
    leftovers::Leftovers,
    print,
    ruleset::Ruleset,
};

use super::input::{self, Input};
use crate::{
    agent::NodeFacts,
    cli::arguments::{InputArgs, Output, RenderArgs},
    config::settings::Settings,
    kernel::nftables::{Error, Kernel, Needs},
    source::manifest::Completeness,
};

/// Prints the ruleset for this node.
pub fn render(args: &RenderArgs) -> ExitCode {
    let input = match input::read(&args.input) {
        Ok(input) => input,
        Err(error) => return super::fail(&error),
    };
    // Loaded by nft, what is not printed is gone: the whole of a path must not be.
    if input.completeness == Completeness::Nothing || input.is_path_missing {
        return ExitCode::FAILURE;
    }
    let (ruleset, complete) = compile(input, &Ruleset::default());
    let text = match args.output {
        Output::Nft => print::nft(&ruleset),
        Output::Json => format!("{:#}\n", print::json(&ruleset)),
    };
    match super::print(text.as_bytes()) {
        ExitCode::SUCCESS if complete => ExitCode::SUCCESS,
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
    let kernel = match read(&mut input.settings) {
        Ok(kernel) => kernel,
        Err(failure) => {
            super::fail(&failure);
            return error;
        }
    };
    let (desired, complete) = compile(input, &kernel);
    let transaction = diff::diff_into(&table, &kernel, desired);
    let mut text = String::new();
    for (family, operation) in &transaction.operations {
        text.push_str(&print::operation(operation, *family, &table));
        text.push('\n');
    }
    match super::print(text.as_bytes()) {
        ExitCode::SUCCESS if !complete => error,
        ExitCode::SUCCESS if transaction.is_empty() => ExitCode::SUCCESS,
        ExitCode::SUCCESS => ExitCode::from(1),
        _ => error,
    }
}

/// Reads the tables, and takes those families out of the settings that `run` would leave out on this kernel.
fn read(settings: &mut Settings) -> Result<Ruleset, Error> {
    let config = &mut settings.config;
    let mut kernel = Kernel::open()?;
    let features = kernel.probe(&config.table)?;
    let served = features.serve(Needs { element_counters: config.endpoint_counters })?;
    for warning in served.warnings {
        eprintln!("portolan: warning: {warning}");
    }
    config.families = served.families;
    kernel.dump(&config.table)
}

/// Compiles the input against what the kernel has, of which nothing goes while the input is incomplete; says whether all
/// of it could be used.
fn compile(input: Input, kernel: &Ruleset) -> (Ruleset, bool) {
    let Input { settings, mut state, service_cidrs, completeness, workloads: _, is_path_missing: _ } = input;
    let is_whole = completeness == Completeness::Whole;
    let mut compiler = Compiler::new(settings.config.clone());
    if let Some(lacking) = settings.lacks(state.node()) {
        eprintln!("portolan: warning: {lacking}");
    }
    NodeFacts::new(&settings, state.node()).apply(&mut compiler, &mut state);
    compiler.set_service_cidrs(&mut state, &[service_cidrs, settings.service_cidrs].concat());
    let leftovers = (!is_whole).then(|| Leftovers::find(kernel, &compiler, &mut state));
    let problems = compiler.load(&mut state, kernel);
    for problem in &problems {
        match problem.severity {
            Severity::Error => eprintln!("portolan: {problem}"),
            Severity::Notice => eprintln!("portolan: warning: {problem}"),
        }
    }
    let all_programmed = problems.iter().all(|problem| problem.severity == Severity::Notice);
    let mut desired = compiler.ruleset();
    if let Some(leftovers) = leftovers {
        leftovers.keep(&mut desired);
    }
    (desired, is_whole && all_programmed)
}
