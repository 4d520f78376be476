//! `render`: what the rules are. What `diff` shares with it.

use std::process::ExitCode;

use portolan_rules::{
    compile::{Compiler, Severity},
    iptables, print,
    restart::leftovers::{Leftovers, without_namespace},
    ruleset::Ruleset,
};

use super::{
    explain::Scene,
    input::{self, Input},
};
use crate::{
    cli::arguments::{InputArgs, Output, RenderArgs},
    config::settings::Settings,
    kernel::nftables::{Error, Kernel, Needs},
    source::manifest::Completeness,
};

/// Prints the ruleset for this node.
pub fn render(args: &RenderArgs) -> ExitCode {
    let input = match input::read(&args.input) {
        Ok(input) => input,
        Err(error) => return super::output::fail(&error),
    };
    // `nft -f` removes the rules of Services that are not printed; those of a whole path must stay.
    if input.completeness == Completeness::Nothing || input.is_path_missing {
        return ExitCode::FAILURE;
    }
    if args.output == Output::Iptables {
        return iptables(input, &args.input);
    }
    let stand_ins = input.workloads.stand_in_lines(&input.state);
    let compiled = match compile(input, None, |_| Ok(Ruleset::default())) {
        Ok(compiled) => compiled,
        Err(error) => return super::output::fail(&error),
    };
    let text = match args.output {
        Output::Nft => comments(&stand_ins) + &print::nft(&compiled.desired),
        Output::Iptables | Output::Json => {
            let mut json = print::json(&compiled.desired);
            if !stand_ins.is_empty() {
                json["nftables"][0]["metainfo"]["stand_ins"] = stand_ins.into();
            }
            format!("{json:#}\n")
        }
    };
    match super::output::print(text.as_bytes()) {
        ExitCode::SUCCESS if compiled.is_complete => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Prints the Services as `iptables-restore` takes them.
fn iptables(input: Input, args: &InputArgs) -> ExitCode {
    let cidrs = [&input.service_cidrs[..], &input.settings.service_cidrs].concat();
    let stand_ins = input.workloads.stand_in_lines(&input.state);
    let Some(scene) = Scene::of_files(input, &args.source().filenames) else { return ExitCode::FAILURE };
    let view = scene.view();
    let text = comments(&stand_ins) + &iptables::iptables(&view, &view.services(), &cidrs);
    match super::output::print(text.as_bytes()) {
        ExitCode::SUCCESS if scene.is_whole => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Stand-ins as comments of a file for `nft -f`.
fn comments(stand_ins: &[String]) -> String {
    let title = (!stand_ins.is_empty()).then_some("Stand-ins, in place of what a cluster would assign:\n");
    let lines = stand_ins.iter().map(|line| format!("#   {line}\n"));
    title.into_iter().map(|title| format!("# {title}")).chain(lines).collect()
}

/// Takes those families out of the settings that `run` would leave out on this kernel.
pub(super) fn open(settings: &mut Settings) -> Result<Kernel, Error> {
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
pub(super) struct Compiled {
    /// What the kernel has.
    pub kernel: Ruleset,
    /// What it is to have.
    pub desired: Ruleset,
    /// Whether all of the input could be used.
    pub is_complete: bool,
}

/// Compiles the input against what the kernel has, of which nothing goes while the input is incomplete, and nothing of
/// other namespaces if the input is of one.
pub(super) fn compile(
    mut input: Input,
    namespace: Option<&str>,
    read: impl FnOnce(&Compiler) -> Result<Ruleset, Error>,
) -> Result<Compiled, Error> {
    let mut compiler = input.compiler();
    let Input { mut state, completeness, .. } = input;
    let is_whole = completeness == Completeness::Whole;
    let kernel = read(&compiler)?;
    let leftovers = match namespace {
        _ if !is_whole => Some(Leftovers::find(&kernel, &compiler, &mut state)),
        Some(namespace) => {
            let others = without_namespace(&kernel, namespace);
            Some(Leftovers::find(&others, &compiler, &mut state))
        }
        None => None,
    };
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
