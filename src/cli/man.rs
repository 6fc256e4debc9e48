//! `man`: prints a manual page, or writes one for each command, as packages want them.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use super::{
    exit::{Exit, Failure},
    help::pages::{Page, page, variable},
    out::print,
};

/// Options of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// The command whose page is printed, such as: forward, or: token mint [default: the program's own page]
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Write a page for each command into this directory, which is made if need be
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
    pub directory: Option<PathBuf>,
}

/// Runs `man` for the program that `command` describes.
pub(crate) fn run(args: &ManArgs, command: Command) -> Result<(), Failure> {
    // Pages are made on another machine than they are read on, so they do not say what suits this processor.
    let version = crate::VERSION;
    let command = command.version(version).long_version(version);
    let mut command = command
        .disable_help_subcommand(true)
        .styles(clap::builder::Styles::plain());
    command.build();
    if let Some(directory) = &args.directory {
        fs::create_dir_all(directory)?;
        return Ok(write(&command, "", directory)?);
    }
    let mut found = &command;
    for word in &args.command {
        found = found.find_subcommand(word).ok_or_else(|| {
            let names: Vec<_> = found.get_subcommands().map(Command::get_name).collect();
            let why = format!("there is no command `{}`", args.command.join(" "));
            let why = match &*names {
                [] => why,
                names => format!("{why}; there are {}", names.join(", ")),
            };
            Failure::new(Exit::Usage, why)
        })?;
    }
    print(text(found, &args.command.join(" "))?)
}

/// Writes the pages of a command and of all below it.
fn write(command: &Command, path: &str, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    fs::write(directory.join(format!("{name}.1")), text(command, path)?)?;
    for below in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        let path = format!("{path} {}", below.get_name());
        write(below, path.trim_start(), directory)?;
    }
    Ok(())
}

/// Makes the page of a command.
fn text(command: &Command, path: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut out = Vec::new();
    // Without a date, which would have to be that of the texts; the renderer would leave its place out.
    let (name, version) = (
        command.get_display_name().unwrap_or(command.get_name()),
        crate::VERSION,
    );
    writeln!(
        out,
        ".TH {name} 1 \"\" \"jumpstarter-router {version}\" \"Jumpstarter router\""
    )?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    let page = page(path);
    out.extend_from_slice(options(&man)?.as_bytes());
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let mut roff = Roff::new();
    if let Some(page) = page {
        sections(page, &mut roff);
    }
    see_also(command, page, &mut roff);
    roff.to_writer(&mut out)?;
    Ok(out)
}

/// Writes the options as one section, with a heading inside for each group.
fn options(man: &Man) -> io::Result<String> {
    let mut section = Vec::new();
    man.render_options_section(&mut section)?;
    let section = String::from_utf8(section).map_err(io::Error::other)?;
    let inside = section.replace("\n.SH ", "\n.SS ");
    // What has no heading comes first, under the one that all are put under here.
    Ok(format!(
        ".SH OPTIONS\n{}",
        inside.replacen(".SS OPTIONS\n", "", 1)
    ))
}

/// Writes what `--help` says below the options.
fn sections(page: &Page, roff: &mut Roff) {
    if !page.examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for (at, (what, lines)) in page.examples.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(format!("{what}:"))]);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([bold(line)]);
        }
        roff.control("fi", []);
        roff.control("RE", []);
    }
    let variables: Vec<_> = page.variables().map(variable).collect();
    definitions(roff, "ENVIRONMENT", &variables);
    definitions(roff, "FILES", page.files);
    let codes: Vec<_> = page
        .exits
        .iter()
        .map(|(code, what)| (code.to_string(), *what))
        .collect();
    let codes: Vec<_> = codes.iter().map(|(code, what)| (&**code, *what)).collect();
    definitions(roff, "EXIT STATUS", &codes);
}

fn definitions(roff: &mut Roff, heading: &str, rows: &[(&str, &str)]) {
    if rows.is_empty() {
        return;
    }
    roff.control("SH", [heading]);
    for (name, what) in rows {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*what)]);
    }
}

fn see_also(command: &Command, page: Option<&Page>, roff: &mut Roff) {
    let own = command.get_display_name().unwrap_or(command.get_name());
    let others = page.map(|page| page.see).unwrap_or_default();
    let others = others
        .iter()
        .map(|other| format!("jumpstarter-router-{}", other.replace(' ', "-")));
    let all: Vec<_> = std::iter::once("jumpstarter-router".to_owned())
        .chain(others)
        .filter(|name| name != own)
        .collect();
    let below = command
        .get_subcommands()
        .filter(|one| own == "jumpstarter-router" && !one.is_hide_set())
        .map(|one| format!("jumpstarter-router-{}", one.get_name()));
    let all: Vec<_> = all.into_iter().chain(below).collect();
    roff.control("SH", ["SEE ALSO"]);
    // Names are not hyphenated.
    roff.control("nh", []);
    roff.control("ad", ["l"]);
    let mut line = Vec::new();
    for (at, name) in all.iter().enumerate() {
        let gap = if at == 0 { "" } else { ", " };
        line.extend([roman(gap), italic(name.as_str()), roman("(1)")]);
    }
    roff.text(line);
}
