//! `diff`: shows what would change in the kernel, or what differs between two states of files, Service by Service.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portolan_rules::{
    comparison::{self, Difference, Presence, Services},
    picture::{self, count},
    print,
    ruleset::{Name, Ruleset, diff::diff_into, transaction::Transaction},
};
use serde_json::{Value, json};

use super::{
    arguments::{InputArgs, SourceArgs},
    draw::{self, DrawOutput},
    explain::Scene,
    input,
    oneshot::{self, Compiled},
    output::{self, CommandError, Ended},
};
use crate::{kernel::nftables::Tables, source::manifest::Completeness};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 nothing would change, 1 something would, 2 an error.

Examples:
  portolan diff -f manifests/ && echo in sync
  portolan diff -f manifests/ -o nft
  portolan diff --from old/ -f new/ -o markdown
  portolan diff --from old/ -f new/ -o svg > change.svg";

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// Compare with these manifests rather than with the kernel; may be repeated
    #[arg(long, value_name = "PATH")]
    pub from: Vec<PathBuf>,

    /// Use stand-ins for ClusterIPs, node ports and load balancer addresses that Services lack, as `run -f --stand-ins`
    /// does; a comparison of two states of manifests does so by default
    #[arg(long, conflicts_with = "no_stand_ins")]
    pub stand_ins: bool,

    /// Draw the Services that differ, before and after in one picture
    #[arg(long)]
    pub draw: bool,

    /// Output format: a line per Service, JSON, a table for a pull request, or a line per nftables object; for a
    /// picture, those of `draw`
    #[arg(short, long, value_enum, default_value_t = DiffOutput::Text)]
    pub output: DiffOutput,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Output format of `diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffOutput {
    /// One line per Service.
    Text,
    /// An object with all changes of each Service.
    Json,
    /// A table.
    Markdown,
    /// One line per object of nftables.
    Nft,
    /// A picture as one SVG file.
    Svg,
    /// A picture as one HTML file.
    Html,
    /// A picture as a flowchart of Mermaid.
    Mermaid,
    /// A picture as a graph for Graphviz.
    Dot,
}

impl DiffArgs {
    /// Returns the notation of the picture, if a picture is asked for.
    ///
    /// # Errors
    /// A picture is asked for in a notation that is not for pictures.
    pub const fn picture(&self) -> Result<Option<DrawOutput>, &'static str> {
        Ok(match self.output {
            DiffOutput::Svg => Some(DrawOutput::Svg),
            DiffOutput::Html => Some(DrawOutput::Html),
            DiffOutput::Mermaid => Some(DrawOutput::Mermaid),
            DiffOutput::Dot => Some(DrawOutput::Dot),
            DiffOutput::Text if self.draw => Some(DrawOutput::Text),
            _ if self.draw => return Err("--draw: a picture is text, svg, html, mermaid or dot (-o)"),
            DiffOutput::Text | DiffOutput::Json | DiffOutput::Markdown | DiffOutput::Nft => None,
        })
    }
}

/// Two states to compare.
struct Sides {
    before: Services,
    after: Services,
    transaction: Transaction,
    table: Name,
    /// The states to draw.
    scenes: Option<[Scene; 2]>,
    /// Whether all of the input could be used.
    is_complete: bool,
    /// The name of the earlier state, and the verb for one Service that differs and for several.
    words: [&'static str; 3],
}

/// Prints what differs. Exit status: 0 if nothing differs, 1 if something does, 2 for an error.
pub fn diff(args: &DiffArgs) -> Ended {
    let notation = args.picture()?;
    let sides = if args.from.is_empty() { with_kernel(args, notation.is_some())? } else { of_files(args)? };
    let differences = || comparison::compare(&sides.before, &sides.after);
    let text = match (args.output, notation, &sides.scenes) {
        (_, Some(notation), Some([before, after])) => {
            let [before, after] =
                [before, after].map(|scene| picture::State { view: scene.view(), origin: &scene.origin });
            draw::write(&picture::overlay(before, after, &differences()), notation)
        }
        (DiffOutput::Nft, ..) => operations(&sides),
        (DiffOutput::Json, ..) => format!("{:#}\n", json(&differences(), &sides)),
        (DiffOutput::Markdown, ..) => markdown(&differences(), &sides),
        _ => text(&differences(), &sides),
    };
    let is_equal = sides.transaction.is_empty() && sides.before == sides.after;
    output::end(text, if sides.is_complete { u8::from(!is_equal) } else { 2 })
}

/// Compares the kernel with the input, as `run -f` would program it.
fn with_kernel(args: &DiffArgs, is_drawn: bool) -> Result<Sides, CommandError> {
    let mut input = args.input.clone();
    // The kernel's rules have the addresses of this machine.
    input.source.host_addresses = true;
    input.source.no_stand_ins |= !args.stand_ins;
    let namespace = input.namespace.as_deref();
    let mut input = input::read(&input)?;
    if input.completeness == Completeness::Nothing {
        return Err(CommandError::Reported);
    }
    let table = input.settings.config.table.clone();
    let mut kernel = oneshot::open(&mut input.settings)?;
    let settings = input.settings.clone();
    let compiled = oneshot::compile(input, namespace, |compiler| kernel.read(&table, &mut &*compiler));
    let Compiled { kernel, desired, is_complete } = compiled?;
    let services = |ruleset: &Ruleset| {
        let mut services = comparison::programmed(ruleset);
        services.retain(|name, _| namespace.is_none_or(|namespace| *name.namespace == *namespace));
        services
    };
    let scenes = is_drawn.then(|| {
        let scene =
            |ruleset: &Ruleset, origin: &str| Scene::of_ruleset(&settings, ruleset, origin.to_owned());
        [scene(&kernel, "the kernel's tables"), scene(&desired, "the input, as it would be programmed")]
    });
    Ok(Sides {
        before: services(&kernel),
        after: services(&desired),
        transaction: diff_into(&table, &kernel, desired),
        scenes,
        table,
        is_complete,
        words: ["the kernel", "would change", "would change"],
    })
}

/// Compares two states of files. Reports the errors of both.
fn of_files(args: &DiffArgs) -> Result<Sides, CommandError> {
    let source = SourceArgs {
        filenames: args.from.clone(),
        kubeconfig: None,
        context: None,
        ..args.input.source.clone()
    };
    let earlier = InputArgs { paths: Vec::new(), source, ..args.input.clone() };
    let [before, after] =
        [&earlier, &args.input].map(|input| Scene::of_input(input).inspect_err(CommandError::report));
    let (Ok(before), Ok(after)) = (before, after) else { return Err(CommandError::Reported) };
    let services = |scene: &Scene| comparison::explained(&scene.view().services());
    let table = after.view().compiler.config().table.clone();
    let desired: Ruleset = after.view().ruleset().clone();
    Ok(Sides {
        before: services(&before),
        after: services(&after),
        transaction: diff_into(&table, before.view().ruleset(), desired),
        table,
        is_complete: before.is_whole && after.is_whole,
        scenes: Some([before, after]),
        words: ["the earlier files", "differs", "differ"],
    })
}

fn operations(sides: &Sides) -> String {
    let operations = sides.transaction.operations.iter();
    operations.map(|(family, it)| print::operation(it, *family, &sides.table) + "\n").collect()
}

fn present(differences: &[Difference], presence: Presence) -> usize {
    differences.iter().filter(|difference| difference.presence == presence).count()
}

/// Returns a summary of the differences, in one line.
fn summary(differences: &[Difference], sides: &Sides) -> String {
    let [earlier, one, many] = sides.words;
    let verb = if differences.len() == 1 { one } else { many };
    let operations = sides.transaction.operations.len();
    let listed = count(operations, "operation", "operations");
    let services = |number| count(number, "Service", "Services");
    match (differences.len(), operations) {
        (0, 0) => format!("No difference from {earlier}: {}", services(sides.after.len())),
        (0, _) => {
            format!(
                "No Service differs from {earlier}; {listed} on the rest of the rules (-o nft lists them)"
            )
        }
        (all, _) => format!(
            "{all} of {} {verb}: {} new, {} gone, {} changed; {listed} (-o nft lists them)",
            services(sides.after.len() + present(differences, Presence::Gone)),
            present(differences, Presence::New),
            present(differences, Presence::Gone),
            present(differences, Presence::Both)
        ),
    }
}

fn text(differences: &[Difference], sides: &Sides) -> String {
    let line = |difference: &Difference| format!("{difference}\n");
    differences.iter().map(line).collect::<String>() + &summary(differences, sides) + "\n"
}

fn markdown(differences: &[Difference], sides: &Sides) -> String {
    let line = |difference: &Difference| {
        let sentences = difference.sentences().join("<br>").replace('|', "\\|");
        format!("| `{}` | {sentences} |\n", difference.service)
    };
    let lines: String = differences.iter().map(line).collect();
    let table = if lines.is_empty() { lines } else { format!("| Service | Change |\n|---|---|\n{lines}\n") };
    table + &summary(differences, sides) + "\n"
}

fn json(differences: &[Difference], sides: &Sides) -> Value {
    let services = differences.iter().map(|difference| {
        let changes = difference.changes.iter().map(|change| {
            let value = |fact: &Option<comparison::Fact>| {
                fact.as_ref().map(|fact| json!({ "value": fact.value, "used": fact.is_used }))
            };
            json!({
                "what": change.aspect.to_string(),
                "before": value(&change.before),
                "after": value(&change.after),
            })
        });
        json!({
            "service": difference.service.to_string(),
            "change": difference.presence.name(),
            "sentences": difference.sentences(),
            "changes": changes.collect::<Vec<_>>(),
        })
    });
    json!({
        "services": services.collect::<Vec<_>>(),
        "new": present(differences, Presence::New),
        "gone": present(differences, Presence::Gone),
        "changed": present(differences, Presence::Both),
        "operations": sides.transaction.operations.len(),
    })
}
