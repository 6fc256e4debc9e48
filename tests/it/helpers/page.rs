//! A page of the documentation whose commands are run as they stand there.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::within;

/// Printed after each block.
const DONE: &str = "-- done --";

/// The `sh` blocks of a page, run in one shell. The first one sets variables; a test has its own values for them.
pub struct Page {
    shell: Child,
    printed: UnboundedReceiver<String>,
    blocks: std::vec::IntoIter<String>,
}

impl Page {
    /// `values`: the variables of the first block, all of them. Commands are run in `directory`.
    pub fn open(name: &str, values: &[(&str, &str)], directory: &Path) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let mut blocks: Vec<String> = text
            .split("\n```sh\n")
            .skip(1)
            .map(|rest| rest.split("\n```").next().unwrap().to_owned())
            .collect();
        let first = blocks.remove(0);
        let names: Vec<_> = first
            .lines()
            .map(|line| line.split_once('=').unwrap().0)
            .collect();
        let given: Vec<_> = values.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, given, "the page's first block sets other variables");

        let mut shell = Command::new("sh");
        shell.arg("-eu").current_dir(directory);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let stdout = BufReader::new(shell.stdout.take().unwrap());
        let (send, printed) = unbounded_channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut page = Self {
            shell,
            printed,
            blocks: blocks.into_iter(),
        };
        page.tell("exec 2>&1");
        for (name, value) in values {
            page.tell(&format!("{name}='{value}'"));
        }
        page
    }

    fn tell(&mut self, commands: &str) {
        let stdin = self.shell.stdin.as_mut().unwrap();
        writeln!(stdin, "{commands}").unwrap();
    }

    /// Runs the next block; gives what it printed, errors included. A command that fails ends the page.
    pub async fn next(&mut self) -> String {
        let block = self.blocks.next().expect("the page has no more commands");
        self.tell(&block);
        self.tell(&format!("echo '{DONE}'"));
        let mut text = String::new();
        loop {
            let line = within(&block, self.printed.recv()).await;
            match line.unwrap_or_else(|| panic!("a command failed:\n{block}\n{text}")) {
                line if line == DONE => return text,
                line => text.extend([&line, "\n"]),
            }
        }
    }

    /// All of the page has been run.
    pub fn finish(mut self) {
        assert_eq!(self.blocks.next(), None, "commands nobody has run");
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
