//! What the directory is to be: all files that are missing or have changed, before any of them is written.

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Access, CA, ENDPOINT, Folder, FolderError, TOKEN,
    certificate::{self, Own},
    failed, make, random, read, set, write, yaml,
};
use crate::lab::{
    names::NAMESPACE,
    settings::{self, Settings},
    tokens::{Holder, Kind},
};

/// What the directory is to be. Nothing is written before all of it is known to be good.
#[derive(Debug)]
pub(crate) struct Draft {
    folder: Folder,
    files: Vec<(PathBuf, String)>,
}

impl Draft {
    /// Looks at the directory, which need not be there.
    pub(crate) fn of(path: &Path) -> Result<Self, FolderError> {
        // An absolute path can be copied to another terminal.
        let absolute = std::path::absolute(path).map_err(failed("find", path))?;
        let folder = Folder {
            path: resolved(&absolute),
        };
        if folder.path.exists() && !folder.path.is_dir() {
            let error = io::ErrorKind::NotADirectory.into();
            return Err(failed("create", path)(error));
        }
        let mut draft = Self {
            folder,
            files: Vec::new(),
        };
        // There are secrets in here.
        draft.once(".gitignore", "*\n");
        Ok(draft)
    }

    /// Gives the directory.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Reads `lab.toml`, or takes an example if there is none.
    pub(crate) fn settings(&mut self) -> Result<Settings, FolderError> {
        let path = self.folder.path.join("lab.toml");
        let text = match read(&path)? {
            Some(text) => text,
            None => self.add(path.clone(), settings::EXAMPLE.to_owned()),
        };
        Ok(Settings::parse(&text, &path)?)
    }

    /// Reads the key that tokens are signed with; one is made when there is none.
    pub(crate) fn token_key(&mut self) -> Result<Vec<u8>, FolderError> {
        let path = self.folder.path.join("token.key");
        let Some(text) = read(&path)? else {
            let key = random()?;
            self.add(path, format!("{}\n", STANDARD.encode(key)));
            return Ok(key.to_vec());
        };
        match STANDARD.decode(text.trim()) {
            Ok(key) if key.len() >= 32 => Ok(key),
            _ => Err(FolderError::Key(path)),
        }
    }

    /// Reads the certificate for `host`; one is made when there is none, or when it will not do for long.
    pub(crate) fn certificate(
        &mut self,
        host: &str,
        now: SystemTime,
    ) -> Result<String, FolderError> {
        let path = &self.folder.path;
        let (certificate, key) = match certificate::load_or_make(path, host, now)? {
            Own::Kept(certificate) => return Ok(certificate),
            Own::New { certificate, key } => (certificate, key),
        };
        self.add(self.folder.path.join("tls.key"), key);
        Ok(self.add(self.folder.path.join("tls.crt"), certificate))
    }

    /// Gives somebody a configuration file. If there is one, only what has changed is written, and everything else stays as it is:
    /// an exporter's drivers are there.
    pub(crate) fn config(
        &mut self,
        holder: &Holder,
        access: Access<'_>,
    ) -> Result<(), FolderError> {
        let path = self.folder.config(holder);
        let ca = STANDARD.encode(access.certificate);
        let Some(old) = read(&path)? else {
            self.add(path, config(holder, access, &ca));
            return Ok(());
        };
        let text = set(&path, &old, ENDPOINT, access.endpoint)?;
        let text = set(&path, &text, CA, &ca)?;
        let text = set(&path, &text, TOKEN, access.token)?;
        if text != old {
            self.add(path, text);
        }
        Ok(())
    }

    /// Makes the first client the one that `jmp` takes when none is named, unless `jmp config client use` has chosen another
    /// one that is in the lab.
    pub(crate) fn current_client(&mut self, settings: &Settings) -> Result<(), FolderError> {
        let path = self.folder.path.join("config.yaml");
        let old = read(&path)?;
        let Some(first) = &settings.first_client else {
            return Ok(());
        };
        if let Some(old) = &old
            && !old.starts_with(CURRENT_CLIENT)
            && yaml::get(old, &["config", "current-client"])
                .is_some_and(|chosen| settings.clients.contains_key(chosen))
        {
            return Ok(());
        }
        let text = format!(
            "{CURRENT_CLIENT}\napiVersion: jumpstarter.dev/v1alpha1\nkind: UserConfig\nconfig:\n  current-client: {first:?}\n"
        );
        if old.as_ref() != Some(&text) {
            self.add(path, text);
        }
        Ok(())
    }

    /// Makes the directory, if there is none, that only its owner can read.
    pub(crate) fn make(&self) -> Result<(), FolderError> {
        make(&self.folder.path)
    }

    /// Writes all that is missing or has changed.
    pub(crate) fn write(self) -> Result<Folder, FolderError> {
        for kind in [Kind::Client, Kind::Exporter] {
            make(&self.folder.path.join(kind.plural()))?;
        }
        for (path, text) in &self.files {
            write(path, text)?;
        }
        Ok(self.folder)
    }

    fn add(&mut self, path: PathBuf, text: String) -> String {
        self.files.push((path, text.clone()));
        text
    }

    fn once(&mut self, name: &str, text: &str) {
        let path = self.folder.path.join(name);
        if !path.exists() {
            self.add(path, text.to_owned());
        }
    }
}

/// Begins the file that says which client is the current one. When `jmp` writes it, this line goes.
const CURRENT_CLIENT: &str = "# Written by jumpstarter-router lab: the first client of lab.toml. `jmp config client use` chooses another.";

/// Follows links in what there is of a path.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(found) = fs::canonicalize(path) {
        return found;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolved(parent).join(name),
        _ => path.to_owned(),
    }
}

/// Makes the whole file. All values are plain enough that quotes make YAML strings of them.
fn config(holder: &Holder, access: Access<'_>, ca: &str) -> String {
    let (kind, rest) = match holder.kind {
        Kind::Client => ("ClientConfig", "drivers:\n  allow: []\n  unsafe: true\n"),
        Kind::Exporter => (
            "ExporterConfig",
            "export:\n  power:\n    type: jumpstarter_driver_power.driver.MockPower\n",
        ),
    };
    let Holder { name, .. } = holder;
    let Access {
        endpoint, token, ..
    } = access;
    format!(
        "# Written by jumpstarter-router lab, which keeps endpoint, tls.ca and token up to date. The rest is yours.\n\
         apiVersion: jumpstarter.dev/v1alpha1\n\
         kind: {kind}\n\
         metadata:\n  namespace: {NAMESPACE}\n  name: \"{name}\"\n\
         endpoint: \"{endpoint}\"\n\
         tls:\n  ca: \"{ca}\"\n  insecure: false\n\
         token: \"{token}\"\n\
         {rest}"
    )
}
