//! `completions`: prints a completion script for a shell.

use clap::{Arg, Args, Command, ValueHint};
use clap_complete::Shell;

use super::{exit::Failure, out::print};

/// Options of `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs `completions` for the program that `command` describes.
pub(crate) fn run(args: CompletionsArgs, command: &mut Command) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    if args.shell != Shell::Bash {
        clap_complete::generate(args.shell, command, name, &mut script);
        return print(script);
    }
    // The generator takes a hyphen in the name for one thing where it sets the command and for another where it looks
    // for it. So it gets a name without, and the script is bound to the real one.
    let plain = name.replace('-', "__");
    clap_complete::generate(args.shell, command, &plain, &mut script);
    let script = String::from_utf8_lossy(&script).replace(
        &format!("-o default {plain}\n"),
        &format!("-o default {name}\n"),
    );
    print(with_paths(script, command, &plain))
}

/// Has bash complete the paths of files where a command takes them without an option; the generator offers options there.
fn with_paths(script: String, command: &Command, label: &str) -> String {
    let takes_path =
        |arg: &&Arg| !matches!(arg.get_value_hint(), ValueHint::Unknown | ValueHint::Other);
    let mut script = script;
    if command.get_positionals().find(takes_path).is_some() {
        let begin = format!("        {label})\n");
        let files = "            if [[ ${cur} != -* && $3 != -* ]] ; then
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- \"${cur}\")
                return 0
            fi\n";
        script = script.replacen(&begin, &format!("{begin}{files}"), 1);
    }
    for below in command.get_subcommands() {
        let label = format!(
            "{label}__subcmd__{}",
            below.get_name().replace('-', "__subcmd__")
        );
        script = with_paths(script, below, &label);
    }
    script
}
