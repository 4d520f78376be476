//! `man`: manual pages.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::{
    arguments::definition,
    output::{self, Ended},
};

/// Prints the manual page of portolan, or of the subcommand at the end of this path, such as `describe service`.
pub fn man(path: &[String]) -> Ended {
    let mut command = &mut definition();
    // Gives the subcommands their full names.
    command.build();
    for name in path {
        let subcommand = command.find_subcommand_mut(name);
        command = subcommand.ok_or_else(|| format!("there is no command {:?}", path.join(" ")))?;
    }
    output::end(page(command)?, 0)
}

fn page(command: &mut Command) -> io::Result<Vec<u8>> {
    let name = command.get_bin_name().unwrap_or("portolan").replace(' ', "-");
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (mut description, mut status, mut examples) = (Roff::new(), Roff::new(), Roff::new());
    for paragraph in help.split("\n\n") {
        if let Some(text) = paragraph.strip_prefix("Exit status: ") {
            status.control("SH", ["EXIT STATUS"]).text([roman(text)]);
        } else if let Some(lines) = paragraph.strip_prefix("Examples:\n") {
            examples.control("SH", ["EXAMPLES"]).control("nf", []).text([roman(lines)]).control("fi", []);
        } else if !paragraph.is_empty() {
            description.control("PP", []).text([roman(paragraph)]);
        }
    }
    let has_commands = command.has_subcommands();
    let command =
        command.clone().override_usage(usage).display_name(&*name).subcommand_help_heading("COMMANDS");
    let man = Man::new(command)
        .title(name.to_uppercase())
        .source(concat!("portolan ", env!("CARGO_PKG_VERSION")))
        .manual("Portolan");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    page.extend(description.to_roff().into_bytes());
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(status.to_roff().into_bytes());
    page.extend(examples.to_roff().into_bytes());
    Ok(page)
}
