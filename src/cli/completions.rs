//! Completions: shells ask the binary, which knows the commands, the flags, their values and the agent's Services.

use std::{io, path::PathBuf};

use clap::Arg;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate, Shell, env::Shells};
use portolan_rules::{model::ObjectName, plane::Config};

use super::{
    arguments::definition,
    explain::agent,
    input,
    output::{self, CommandError, Ended},
};
use crate::{
    config::settings::socket_path,
    source::manifest::{Source, StandInRanges},
};

/// The environment variable by which a shell asks for completions.
const VARIABLE: &str = "PORTOLAN_COMPLETE";

/// Largest manifest that is read, in bytes: the user is typing and should not wait.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// An addition to the script for zsh, which loads the completion function at its first use: the function then answers
/// that first request as well.
const ZSH: &str = "if [ \"$funcstack[1]\" = _portolan ]; then _clap_dynamic_completer_portolan \"$@\"; fi\n";

/// Answers a shell that asks for completions, and ends the process; otherwise does nothing.
pub fn complete() {
    CompleteEnv::with_factory(with_names).var(VARIABLE).bin("portolan").complete();
}

/// Prints the script that makes a shell ask for completions.
pub fn script(shell: Shell) -> Ended {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells.completer(&shell.to_string()).ok_or(CommandError::Reported)?;
    completer.write_registration(VARIABLE, "portolan", "portolan", "portolan", &mut script)?;
    if shell == Shell::Zsh {
        script.extend_from_slice(ZSH.as_bytes());
    }
    output::end(script, 0)
}

/// Returns the definition of the command line, with completions for the arguments that are names.
fn with_names() -> clap::Command {
    let names = |argument: Arg| argument.add(ArgValueCandidates::new(services));
    definition()
        .mut_subcommand("describe", |describe| {
            describe.mut_subcommand("service", |service| service.mut_arg("name", names))
        })
        .mut_subcommand("get", |get| {
            get.mut_subcommand("services", |services| services.mut_arg("names", names))
                .mut_subcommand("endpoints", |endpoints| endpoints.mut_arg("names", names))
        })
        .mut_subcommand("draw", |draw| draw.mut_arg("names", names))
        .mut_subcommand("flows", |flows| flows.mut_arg("service", names))
        .mut_subcommand("trace", |trace| {
            trace
                .mut_arg("from", |from| from.add(ArgValueCandidates::new(origins)))
                .mut_arg("to", |to| to.add(ArgValueCandidates::new(destinations)))
        })
}

fn origins() -> Vec<CompletionCandidate> {
    ["node", "outside", "pod"].into_iter().map(CompletionCandidate::new).collect()
}

fn destinations() -> Vec<CompletionCandidate> {
    let names = known().into_iter();
    names.map(|name| CompletionCandidate::new(format!("svc/{name}"))).collect()
}

/// Returns the names of Services. If the command line has a namespace, these are the names in that namespace.
/// Otherwise, they are NAMESPACE/NAME of all Services, and NAME of those in the namespace `default`.
fn services() -> Vec<CompletionCandidate> {
    let namespace = flag(&["-n", "--namespace"]);
    let of = |name: &ObjectName, namespace: &str| *name.namespace == *namespace;
    let names = known();
    let short = names.iter().filter(|name| of(name, namespace.as_deref().unwrap_or("default")));
    let short = short.map(|name| CompletionCandidate::new(name.name.to_string()));
    let long =
        names.iter().filter(|_| namespace.is_none()).map(|name| CompletionCandidate::new(name.to_string()));
    short.chain(long).collect()
}

/// Returns the Services of the manifests that the command line names, or else of the agent that runs here. Returns none
/// if no agent answers, or if the command line names a cluster or a node: the API server is not asked while the user is
/// typing.
fn known() -> Vec<ObjectName> {
    let paths = values(&["-f", "--filename"]);
    if !paths.is_empty() {
        return of_manifests(&paths);
    }
    if ["--kubeconfig", "--context", "--node"].iter().any(|name| !values(&[name]).is_empty()) {
        return Vec::new();
    }
    let table = flag(&["--table-name"]).unwrap_or_else(|| Config::default().table.to_string());
    let socket = flag(&["--socket"]).map_or_else(|| socket_path(&table), PathBuf::from);
    agent::names(&socket).unwrap_or_default()
}

fn of_manifests(paths: &[String]) -> Vec<ObjectName> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let is_recursive = std::env::args_os().any(|word| word == "-R" || word == "--recursive");
    let mut source = Source::new(input::expand(&paths), "")
        .with_stdin(io::empty())
        .recursive(is_recursive)
        .with_max_file_size(MAX_FILE_SIZE)
        .with_stand_ins(Some(StandInRanges::default()));
    source.load().services.into_keys().collect()
}

/// Returns the value of a flag on the command line that is completed. If the flag is repeated, the last value counts.
fn flag(names: &[&str]) -> Option<String> {
    values(names).pop()
}

/// Returns all values of a flag on the command line that is completed.
fn values(names: &[&str]) -> Vec<String> {
    let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    let value = |(number, word): (usize, &String)| {
        if names.contains(&&**word) {
            return words.get(number + 1).cloned();
        }
        let (name, value) = word.split_once('=')?;
        names.contains(&name).then(|| value.to_owned())
    };
    words.iter().enumerate().filter_map(value).collect()
}
