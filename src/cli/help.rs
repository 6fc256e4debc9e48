//! What `--help` and the manual pages say beyond the options: groups, examples, the environment, files, exit codes. Both
//! are made of the same [`pages`].

pub(crate) mod pages;

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, ValueHint};

use self::pages::{GROUPS, Page, page, variable};
use super::out::STYLES;

/// These commands have a log of their own, or nothing to tell of what they do.
const WITHOUT_VERBOSE: [&str; 8] = [
    "serve",
    "check",
    "lab",
    "top",
    "token",
    "completions",
    "man",
    "help",
];

/// Adds to the program's commands what they have in common, and to each its texts.
pub(crate) fn complete(program: Command) -> Command {
    let template = root_template(&program);
    let names: Vec<_> = program
        .get_subcommands()
        .map(|one| one.get_name().to_owned())
        .collect();
    let mut program = hinted(program)
        .styles(STYLES)
        .disable_help_subcommand(false)
        .subcommand_value_name("COMMAND");
    for name in names {
        let verbose = !WITHOUT_VERBOSE.contains(&&*name);
        program = program.mut_subcommand(&name, |command| completed(command, &name, verbose));
    }
    let texts = page("").map(texts).unwrap_or_default();
    program.help_template(template).after_help(texts)
}

/// Does so for one command, and those below it.
fn completed(command: Command, path: &str, verbose: bool) -> Command {
    let below: Vec<_> = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned())
        .collect();
    let is_leaf = below.is_empty();
    let mut command = headed(hinted(command), path);
    for name in below {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(&name, |command| completed(command, &path, verbose));
    }
    if is_leaf && verbose {
        command = with_output_options(command, path);
    }
    // What a command says of itself beyond a line comes first, not below all options.
    if let (Some(about), Some(notes)) = (command.get_about(), command.get_after_help()) {
        let long = format!("{about}\n\n{notes}");
        command = command.long_about(long);
    }
    let Some(page) = page(path) else {
        return command;
    };
    command
        .after_help("--help has examples, the environment and the exit codes, too.")
        .after_long_help(texts(page))
}

/// Adds `-v`, and `-q` to the option of that name if there is one, or as an option of `pipe`.
fn with_output_options(command: Command, path: &str) -> Command {
    let has = |command: &Command, id: &str, short: char| {
        command
            .get_arguments()
            .any(|arg| arg.get_id() == id || arg.get_short() == Some(short))
    };
    let mut command = command;
    if command.get_arguments().any(|arg| arg.get_id() == "quiet") {
        command = command.mut_arg("quiet", |arg| arg.short('q').help_heading("Output"));
    } else if path == "pipe" {
        let quiet = Arg::new("quiet")
            .short('q')
            .long("quiet")
            .action(ArgAction::SetTrue)
            .help_heading("Output")
            .help("Say nothing but warnings and errors");
        command = command.arg(quiet);
    }
    if has(&command, "verbose", 'v') {
        return command;
    }
    let verbose = Arg::new("verbose")
        .short('v')
        .long("verbose")
        .action(ArgAction::Count)
        .help_heading("Output")
        .help("Say what is done, on standard error; -vv says more");
    command.arg(verbose)
}

/// Tells completions what values are.
fn hinted(command: Command) -> Command {
    command.mut_args(|arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let name = names.first().map_or("", |name| name);
        let hint = match name {
            name if name.contains("FILE") => ValueHint::FilePath,
            "DIRECTORY" => ValueHint::DirPath,
            "PROGRAM" => ValueHint::ExecutablePath,
            "" => return arg,
            _ if arg.get_possible_values().is_empty() => ValueHint::Other,
            _ => return arg,
        };
        // A negative number is a wrong value, and no option.
        let is_number = matches!(name, "N" | "BYTES" | "NUMBER" | "PID");
        arg.value_hint(hint).allow_negative_numbers(is_number)
    })
}

/// Puts options under headings.
fn headed(command: Command, path: &str) -> Command {
    let router = matches!(path, "serve" | "check");
    command.mut_args(|arg| {
        if arg.get_help_heading().is_some() || arg.is_positional() {
            return arg;
        }
        let heading = match arg.get_id().as_str() {
            "config" | "set" => "Configuration",
            "listen" | "endpoint" | "health_address" | "metrics_address" | "admin_address"
                if router =>
            {
                "Addresses"
            }
            "certificate" | "key" | "plaintext" if router => "TLS",
            "log_format" | "log_filter" => "Log",
            "router" | "ca" | "insecure" | "plaintext" | "server_name" | "no_post_quantum"
            | "client_certificate" | "client_key" | "admin" => "Router",
            "token" | "token_file" | "subject" | "key_file" | "key" => "Token",
            "client" | "client_config" | "lease" | "exporter" | "exporter_config" => "Controller",
            "connections" | "window" | "second_router" | "delay" | "threads" => "Connections",
            "pings" | "verify" | "pid" => "Measurements",
            "json" | "quiet" | "verbose" => "Output",
            _ => return arg,
        };
        arg.help_heading(heading)
    })
}

/// Writes the texts of a page as `--help` shows them.
fn texts(page: &Page) -> String {
    let mut parts = Vec::new();
    let mut part = |heading: &str, text: String| {
        if !text.is_empty() {
            let style = STYLES.get_header();
            parts.push(format!("{style}{heading}:{style:#}\n{}", text.trim_end()));
        }
    };
    let mut examples = String::new();
    for (at, (what, line)) in page.examples.iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        let _ = writeln!(
            examples,
            "{gap}  {what}:\n    {}",
            line.replace('\n', "\n    ")
        );
    }
    part("Examples", examples);
    let variables: Vec<_> = page.variables().map(variable).collect();
    part("Environment", table(&variables));
    part("Files", table(page.files));
    let codes: Vec<_> = page
        .exits
        .iter()
        .map(|(code, what)| (code.to_string(), *what))
        .collect();
    let codes: Vec<_> = codes.iter().map(|(code, what)| (&**code, *what)).collect();
    part("Exit codes", table(&codes));
    parts.join("\n\n")
}

/// Writes rows of a name and what it is. A long name has a line of its own.
fn table(rows: &[(&str, &str)]) -> String {
    const WIDEST: usize = 24;
    let fits = rows
        .iter()
        .map(|(name, _)| name.len())
        .filter(|long| *long <= WIDEST);
    let width = fits.max().unwrap_or(WIDEST);
    let mut text = String::new();
    for (name, what) in rows {
        let _ = if name.len() > width {
            writeln!(text, "  {name}\n  {:width$}  {what}", "")
        } else {
            writeln!(text, "  {name:width$}  {what}")
        };
    }
    text
}

/// Makes the template of the program's own help, with the commands in groups by what one wants to do.
fn root_template(program: &Command) -> String {
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let visible = || program.get_subcommands().filter(|one| !one.is_hide_set());
    let width = visible().map(|one| one.get_name().len()).max().unwrap_or(0);
    let mut text = "{about}\n\n{usage-heading} {usage}\n".to_owned();
    for group in GROUPS {
        let mut rows = String::new();
        for command in visible() {
            let name = command.get_name();
            if page(name).map_or(GROUPS[GROUPS.len() - 1], |page| page.group) == group {
                let about = command
                    .get_about()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let _ = writeln!(rows, "  {literal}{name:width$}{literal:#}  {about}");
            }
        }
        if !rows.is_empty() {
            let _ = write!(text, "\n{header}{group}:{header:#}\n{rows}");
        }
    }
    let _ = write!(
        text,
        "\n{header}Options:{header:#}\n  {literal}-h{literal:#}, {literal}--help{literal:#}     Print help\n  \
         {literal}-V{literal:#}, {literal}--version{literal:#}  Print the version\n  \
         and those of `serve`, which runs when no command is named; `COMMAND --help` has all of a command{{after-help}}"
    );
    text
}

#[cfg(test)]
mod tests;
