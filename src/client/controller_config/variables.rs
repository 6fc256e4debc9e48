//! The variables of the environment that `jmp` reads.

use std::{ffi::OsString, path::Path};

use serde::Deserialize;

use super::ControllerConfigError;

/// The names in a configuration.
#[derive(Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

/// An environment.
#[derive(Clone, Copy)]
pub(super) struct Variables<'e>(pub &'e [(String, OsString)]);

impl<'e> Variables<'e> {
    /// Gives a variable's value. An empty one is as good as none.
    pub(super) fn exactly(self, name: &str) -> Option<&'e OsString> {
        let mut set = self.0.iter().filter(|(_, value)| !value.is_empty());
        set.find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Gives the text of a variable that `jmp` reads into its configuration, where capitals make no difference.
    pub(super) fn text(self, name: &str) -> Option<String> {
        let mut set = self.0.iter().filter(|(_, value)| !value.is_empty());
        let mut any = || set.find(|(known, _)| known.eq_ignore_ascii_case(name));
        let found = self.exactly(name).or_else(|| any().map(|(_, value)| value));
        Some(found?.to_str()?.to_owned())
    }

    /// Reads a variable that holds JSON.
    pub(super) fn json<T: for<'de> Deserialize<'de> + Default>(
        self,
        name: &str,
    ) -> Result<T, ControllerConfigError> {
        // JSON is YAML as well.
        let read = |text: String| super::yaml(&text, Path::new(name));
        self.text(name).map_or_else(|| Ok(T::default()), read)
    }

    /// Tells whether a client is named here, which then is the one to be.
    pub(super) fn name_a_client(self) -> bool {
        let metadata = self.json("JMP_METADATA").unwrap_or_default();
        let Metadata { namespace, name } = self.fill(metadata);
        namespace.is_some() && name.is_some()
    }

    /// Puts in the names that are left open.
    pub(super) fn fill(self, metadata: Metadata) -> Metadata {
        Metadata {
            namespace: metadata.namespace.or_else(|| self.text("JMP_NAMESPACE")),
            name: metadata.name.or_else(|| self.text("JMP_NAME")),
        }
    }

    /// Tells whether any certificate is to be believed.
    pub(super) fn is_insecure(self) -> bool {
        ["JMP_GRPC_INSECURE", "JUMPSTARTER_GRPC_INSECURE"]
            .iter()
            .any(|name| self.exactly(name).is_some_and(|value| value == "1"))
    }
}
