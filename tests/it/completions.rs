//! Completions as shells use them: every command of the program is asked for what can follow.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::helpers::process;
use clap::{Arg, ValueHint};
use jumpstarter_router::inside::cli::args;

/// What is typed, and what must be among the answers.
struct Question {
    words: Vec<String>,
    wanted: Vec<String>,
}

fn script(shell: &str) -> String {
    let output = process::command()
        .args(["completions", shell])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asks for everything about a command, and about those below it.
fn ask(command: &clap::Command, words: &[String], questions: &mut Vec<Question>) {
    let mut question = |typed: &[&str], wanted: Vec<String>| {
        let typed = typed.iter().map(|&word| word.to_owned());
        questions.push(Question {
            words: words.iter().cloned().chain(typed).collect(),
            wanted,
        });
    };
    let visible = |arg: &&Arg| !arg.is_hide_set();
    let options = command.get_opts().chain(
        command
            .get_arguments()
            .filter(|arg| !arg.is_positional() && !arg.get_action().takes_values()),
    );
    let longs = options.filter(visible).filter_map(Arg::get_long);
    question(&["--"], longs.map(|long| format!("--{long}")).collect());
    for option in command.get_opts().filter(visible) {
        let Some(long) = option.get_long() else {
            continue;
        };
        let long = format!("--{long}");
        let values = option.get_possible_values();
        let names = values.iter().map(|value| value.get_name().to_owned());
        if !values.is_empty() && !option.is_require_equals_set() {
            question(&[&long, ""], names.collect());
        } else if option.get_value_hint() == ValueHint::FilePath {
            question(&[&long, "fil"], vec!["file 1".to_owned()]);
        }
    }
    for positional in command.get_positionals() {
        let values = positional.get_possible_values();
        if !values.is_empty() {
            question(
                &[""],
                values
                    .iter()
                    .map(|value| value.get_name().to_owned())
                    .collect(),
            );
        } else if !matches!(
            positional.get_value_hint(),
            ValueHint::Unknown | ValueHint::Other
        ) {
            question(&[""], vec!["directory".to_owned()]);
        }
    }
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|one| one.get_name() != "help")
        .collect();
    if !below.is_empty() {
        question(
            &[""],
            below.iter().map(|one| one.get_name().to_owned()).collect(),
        );
    }
    for one in below {
        let words: Vec<_> = words
            .iter()
            .cloned()
            .chain([one.get_name().to_owned()])
            .collect();
        ask(one, &words, questions);
    }
}

fn run(shell: &str, arguments: &[&str], directory: &Path) -> Vec<Vec<String>> {
    let output = Command::new(shell)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let answers = String::from_utf8(output.stdout).unwrap();
    let lines = answers.lines();
    lines
        .map(|line| line.split('\t').map(ToOwned::to_owned).collect())
        .collect()
}

#[test]
fn bash_completes_every_command() {
    let mut program = args::command();
    program.build();
    let mut questions = Vec::new();
    ask(&program, &["jumpstarter-router".to_owned()], &mut questions);
    assert!(questions.len() > 60, "{}", questions.len());

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("script"), script("bash")).unwrap();
    std::fs::write(directory.path().join("file 1"), "").unwrap();
    std::fs::create_dir(directory.path().join("directory")).unwrap();
    // As readline does it; that `compopt` is called outside of a completion is no fault of the script.
    let mut driver = "source ./script\n\
        compopt() { :; }\n\
        entry=($(complete -p jumpstarter-router)); function=${entry[@]: -2:1}\n\
        ask() {\n  COMP_WORDS=(\"$@\"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()\n  \
        \"$function\" \"$1\" \"${@: -1}\" \"${@: -2:1}\"\n  \
        (IFS=$'\\t'; printf '%s\\n' \"${COMPREPLY[*]}\")\n}\n"
        .to_owned();
    for question in &questions {
        let words: Vec<_> = question
            .words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect();
        let _ = writeln!(driver, "ask {}", words.join(" "));
    }
    let answers = run("bash", &["-c", &driver], directory.path());
    assert_eq!(answers.len(), questions.len());
    for (question, answer) in questions.iter().zip(&answers) {
        for wanted in &question.wanted {
            assert!(
                answer.contains(wanted),
                "{:?}: no {wanted:?} in {answer:?}",
                question.words
            );
        }
    }
}

#[test]
fn other_shells_load_their_scripts() {
    let directory = tempfile::tempdir().unwrap();
    for (shell, driver) in [
        (
            "zsh",
            "autoload -U compinit; compinit -u -D; source ./script; whence -w _jumpstarter-router >/dev/null",
        ),
        (
            "fish",
            "source ./script; complete -C 'jumpstarter-router prob' | grep -q probe",
        ),
    ] {
        if Command::new(shell).arg("-c").arg("true").output().is_err() {
            eprintln!("skipped: {shell} is not installed");
            continue;
        }
        std::fs::write(directory.path().join("script"), script(shell)).unwrap();
        run(shell, &["-c", driver], directory.path());
    }
}
