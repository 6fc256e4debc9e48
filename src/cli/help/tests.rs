//! Every command has its texts, and they are true.

use super::*;
use crate::cli::args;

/// Every command, with its words.
fn all(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    for one in command
        .get_subcommands()
        .filter(|one| one.get_name() != "help")
    {
        let path = format!("{path} {}", one.get_name()).trim().to_owned();
        all(one, &path, found);
        found.push((path, one.clone()));
    }
}

#[test]
fn every_command_has_its_texts() {
    let mut commands = Vec::new();
    all(&args::command(), "", &mut commands);
    assert!(commands.len() > 15);
    for (path, mut command) in commands {
        let page = page(&path).unwrap_or_else(|| panic!("`{path}` has no page"));
        assert!(!page.exits.is_empty(), "{path}");
        let help = command.render_long_help().to_string();
        assert!(
            help.contains("Examples:") && help.contains("Environment:"),
            "{path}"
        );
        for variable in page.variables() {
            assert!(help.contains(variable), "{path}: {variable}");
        }
        assert!(help.contains("Exit codes:"), "{path}: {help}");
    }
}

#[test]
fn the_commands_are_found_by_what_one_wants_to_do() {
    let mut program = args::command();
    let help = program.render_help().to_string();
    for line in help.lines() {
        assert!(line.chars().count() <= 100, "too wide: {line}");
    }
    let commands = help.lines().skip_while(|line| *line != "Run a router:");
    let rows: Vec<_> = commands.take_while(|line| *line != "Options:").collect();
    // What the parser adds by itself is in no group.
    let own = program.get_subcommands().map(clap::Command::get_name);
    for name in own.filter(|name| *name != "help") {
        let row = rows
            .iter()
            .find(|row| row.trim_start().starts_with(&format!("{name} ")));
        let row = row.unwrap_or_else(|| panic!("`{name}` is not in {help}"));
        assert!(row.len() <= 80, "{row}");
    }
    for group in GROUPS {
        assert!(rows.contains(&&*format!("{group}:")), "{group}");
    }
}

#[test]
fn examples_can_be_typed() {
    let mut seen = 0;
    for page in pages::all() {
        let lines = page.examples.iter().flat_map(|(_, lines)| lines.lines());
        for line in lines.filter(|line| line.starts_with("jumpstarter-router ")) {
            let line = line.replace("\"$(pidof jumpstarter-router)\"", "1");
            let typed = line.split(['<', '>', '|', ';']).next().unwrap_or_default();
            let parsed = args::parse(typed.split_whitespace().map(Into::into));
            assert!(
                parsed.is_ok(),
                "{line}: {}",
                parsed
                    .err()
                    .map_or_else(String::new, |error| error.to_string())
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn pages_are_of_commands_there_are() {
    let mut commands = Vec::new();
    all(&args::command(), "", &mut commands);
    for page in pages::all().filter(|page| !page.path.is_empty()) {
        assert!(
            commands.iter().any(|(path, _)| path == page.path),
            "{}",
            page.path
        );
        for other in page.see {
            assert!(commands.iter().any(|(path, _)| path == other), "{other}");
        }
    }
}
