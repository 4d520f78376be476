//! `render`: prints the rules. Also has the code that `diff` shares with `render`.

use clap::{Args, ValueEnum};
use portolan_rules::{
    compile::{Compiler, Severity},
    iptables, print,
    restart::leftovers::{Leftovers, without_namespace},
    ruleset::Ruleset,
};

use super::{
    arguments::InputArgs,
    explain::Scene,
    input::{self, Input},
    output::{self, CommandError, Ended},
};
use crate::{
    config::settings::Settings,
    kernel::nftables::{Error, Kernel},
    source::manifest::Completeness,
};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 all input was used, 1 some was not (one line each on stderr). If a path cannot be read or
contains nothing that can be used, nothing is printed, so that `nft -f -` changes nothing.

Examples:
  portolan render -f web.yaml
  portolan render -f web.yaml --cluster-cidr 10.128.0.0/14 -o json
  portolan render -f web.yaml | nft -c -f -
  portolan render -f web.yaml -o iptables | iptables-restore -n --test";

/// Arguments of `render`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// Output format: what `nft -f` takes, libnftables JSON, or what iptables-restore and ip6tables-restore take
    #[arg(short, long, value_enum, default_value_t = Output::Nft)]
    pub output: Output,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Output format of `render`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// nft's own.
    Nft,
    /// libnftables JSON.
    Json,
    /// For `iptables-restore -n` and `ip6tables-restore -n`.
    Iptables,
}

/// Prints the ruleset for this node.
pub fn render(args: &RenderArgs) -> Ended {
    let input = input::read(&args.input)?;
    // `nft -f` removes the rules of Services that are not printed. If a whole path is missing, its rules must stay.
    if input.completeness == Completeness::Nothing || input.is_path_missing {
        return Err(CommandError::Reported);
    }
    let stand_ins = input.workloads.stand_in_lines(&input.state);
    let (text, is_complete) = if args.output == Output::Iptables {
        let cidrs = [&input.service_cidrs[..], &input.settings.service_cidrs].concat();
        let scene = Scene::of_files(input, &args.input.source().filenames)?;
        let view = scene.view();
        (comments(&stand_ins) + &iptables::iptables(&view, &view.services(), &cidrs), scene.is_whole)
    } else {
        let Compiled { desired, is_complete, .. } = compile(input, None, |_| Ok(Ruleset::default()))?;
        if args.output == Output::Nft {
            (comments(&stand_ins) + &print::nft(&desired), is_complete)
        } else {
            let mut json = print::json(&desired);
            if !stand_ins.is_empty() {
                json["nftables"][0]["metainfo"]["stand_ins"] = stand_ins.into();
            }
            (format!("{json:#}\n"), is_complete)
        }
    };
    output::end(text, !is_complete)
}

/// Stand-ins as comments of a file for `nft -f`.
fn comments(stand_ins: &[String]) -> String {
    let title = (!stand_ins.is_empty()).then_some("# Stand-ins, in place of what a cluster would assign:\n");
    title.into_iter().map(str::to_owned).chain(stand_ins.iter().map(|line| format!("#   {line}\n"))).collect()
}

/// Opens the kernel, and removes from the settings the families that `run` would leave out on this kernel.
pub(super) fn open(settings: &mut Settings) -> Result<Kernel, Error> {
    let config = &mut settings.config;
    let mut kernel = Kernel::open()?;
    let features = kernel.probe(&config.table)?;
    let served = features.serve(config)?;
    for warning in served.warnings {
        eprintln!("portolan: warning: {warning}");
    }
    config.families = served.families;
    Ok(kernel)
}

/// The result of a compilation.
pub(super) struct Compiled {
    /// What the kernel has.
    pub kernel: Ruleset,
    /// What the kernel should have.
    pub desired: Ruleset,
    /// Whether all of the input could be used.
    pub is_complete: bool,
}

/// Compiles the input against what the kernel has. If the input is incomplete, nothing is removed from the kernel. If
/// the input is of one namespace, nothing of other namespaces is removed.
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
