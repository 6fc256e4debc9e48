//! What `lab` says when it serves: where everything is, and what to type next.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    cli::variable_os,
    lab::{Lab, selector::list},
};

/// What is needed for an exporter with the drivers that the lab writes down. Many systems let nothing be installed outside an
/// environment.
const INSTALL: &str = "  python3 -m venv jumpstarter && . jumpstarter/bin/activate
  pip install jumpstarter-cli jumpstarter-driver-composite jumpstarter-driver-power";

/// What is known of the lab and its surroundings.
pub(super) struct Banner<'l> {
    pub lab: &'l Lab,
    /// Whether it starts exporters.
    pub run: bool,
    /// The stock command, if there is one.
    pub jmp: Option<PathBuf>,
    /// Variables by which proxies are passed by.
    pub around: Vec<(String, String)>,
    pub env: &'l [(String, OsString)],
}

impl Banner<'_> {
    /// Tells whether those exporters that are to be started are.
    pub(super) fn runs_exporters(&self) -> bool {
        self.run && self.jmp.is_some()
    }

    /// Writes it. Whoever waits for the lab can wait for its last line.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.where_it_is(out)?;
        self.who_takes_part(out)?;
        self.what_to_install(out)?;
        self.how_to_run_exporters(out)?;
        self.what_to_type(out)?;
        let path = self.lab.folder.path();
        writeln!(
            out,
            "\nWho takes part is said in {}. Ctrl-C stops the lab.",
            path.join("lab.toml").display()
        )
    }

    /// Says where controller, routers and page are.
    fn where_it_is(&self, out: &mut impl Write) -> io::Result<()> {
        let (path, endpoint) = (self.lab.folder.path().display(), &self.lab.endpoint);
        let Some(nats) = self.lab.nats() else {
            writeln!(
                out,
                "Jumpstarter lab in {path}, controller and router on {endpoint}"
            )?;
            return match self.lab.server.admin_address {
                Some(page) => writeln!(out, "  page      http://{page}/"),
                None => writeln!(
                    out,
                    "  page      none; --set listen.admin_address=127.0.0.1:<port> gives one"
                ),
            };
        };
        let count = self.lab.others.len() + 1;
        writeln!(
            out,
            "Jumpstarter lab in {path}, controller on {endpoint}, {count} routers, which find each other over {nats}"
        )?;
        for (number, (endpoint, server)) in (1..).zip(self.lab.routers()) {
            write!(out, "  router {number}  {endpoint}")?;
            match server.admin_address {
                Some(page) => writeln!(out, ", page http://{page}/")?,
                None => writeln!(out, ", no page")?,
            }
        }
        writeln!(
            out,
            "  each stream is sent to two of them in turn, its client to one and its exporter to the next"
        )
    }

    fn who_takes_part(&self, out: &mut impl Write) -> io::Result<()> {
        let settings = &self.lab.settings;
        for name in settings.clients.keys() {
            let first = settings.first_client.as_ref() == Some(name) && settings.clients.len() > 1;
            let note = if first { ", the first in lab.toml" } else { "" };
            writeln!(out, "  client    {name}{note}")?;
        }
        for (name, exporter) in &settings.exporters {
            let note = if !exporter.enabled {
                ", disabled"
            } else if exporter.run && self.runs_exporters() {
                ", started"
            } else {
                ""
            };
            writeln!(out, "  exporter  {name} ({}){note}", list(&exporter.labels))?;
        }
        Ok(())
    }

    fn what_to_install(&self, out: &mut impl Write) -> io::Result<()> {
        let exporters = &self.lab.settings.exporters;
        let wanted = exporters.values().any(|exporter| exporter.run);
        if wanted && self.jmp.is_none() {
            writeln!(
                out,
                "\njmp is not on the PATH. To have it, before the lab is started again:\n{INSTALL}"
            )?;
        }
        Ok(())
    }

    fn how_to_run_exporters(&self, out: &mut impl Write) -> io::Result<()> {
        let exporters = self.lab.settings.exporters.iter();
        let others = exporters.filter(|(_, exporter)| !(exporter.run && self.runs_exporters()));
        for (at, (name, _)) in others.enumerate() {
            if at == 0 {
                writeln!(out, "\nTo run an exporter, in another terminal:")?;
                self.activate(out)?;
            }
            writeln!(out, "  {} jmp run --exporter {name}", self.variables())?;
        }
        Ok(())
    }

    fn what_to_type(&self, out: &mut impl Write) -> io::Result<()> {
        let settings = &self.lab.settings;
        let first = settings
            .exporters
            .iter()
            .find(|(_, exporter)| exporter.enabled);
        let Some((name, exporter)) = first.filter(|_| !settings.clients.is_empty()) else {
            return Ok(());
        };
        let wish = if exporter.labels.is_empty() {
            format!("-n {name}")
        } else {
            format!("-l {}", list(&exporter.labels))
        };
        let variables = self.variables();
        writeln!(out, "\nFor a shell on an exporter, in another terminal:")?;
        self.activate(out)?;
        writeln!(out, "  {variables} jmp shell {wish}")?;
        writeln!(
            out,
            "In it, `j --help` lists what the exporter's drivers can do, and `j power on` works the mock. To see more:"
        )?;
        writeln!(out, "  {variables} jmp get exporters")?;
        if let Some(page) = self.lab.server.admin_address {
            writeln!(out, "  jumpstarter-router top --admin http://{page}")?;
        }
        Ok(())
    }

    /// Has the other terminal find `jmp`, if it is in a virtual environment that is active in this one.
    fn activate(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(venv) = variable_os("VIRTUAL_ENV", self.env).map(Path::new) else {
            return Ok(());
        };
        let is_there = |jmp: &PathBuf| jmp.starts_with(venv);
        if self.jmp.as_ref().is_some_and(is_there) {
            let activate = venv.join("bin/activate").display().to_string();
            writeln!(out, "  . {}", quoted(&activate))?;
        }
        Ok(())
    }

    /// Gives the variables that go before a stock command.
    fn variables(&self) -> String {
        let home = self.lab.folder.path().display().to_string();
        let around = self.around.iter();
        let mut all: Vec<_> = around
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        all.push(format!("JMP_CLIENT_CONFIG_HOME={}", quoted(&home)));
        all.join(" ")
    }
}

/// As a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_copied() {
        for plain in ["/home/me/lab-1", "127.0.0.1,::1"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted("/my lab"), "'/my lab'");
        assert_eq!(quoted("/it's"), r"'/it'\''s'");
    }
}
