//! The texts of each command: what belongs to it besides its options.

mod others;
mod routers;
mod tunnels;

/// What one may want to do; the last is where commands go that have no page.
pub(crate) const GROUPS: [&str; 5] = [
    "Run a router",
    "Use a router",
    "Look at a router",
    "Develop and measure",
    "For your shell",
];
const RUN: &str = GROUPS[0];
const USE: &str = GROUPS[1];
const LOOK: &str = GROUPS[2];
const DEVELOP: &str = GROUPS[3];
const SHELL: &str = GROUPS[4];

/// Holds the texts of a command.
pub(crate) struct Page {
    /// Its words, without the program's name.
    pub path: &'static str,
    /// Where it stands in the list of commands.
    pub group: &'static str,
    /// What one may want to do with it, and how.
    pub examples: &'static [(&'static str, &'static str)],
    /// Variables it reads, of [`VARIABLES`].
    environment: &'static [&'static str],
    /// Files it reads or writes.
    pub files: &'static [(&'static str, &'static str)],
    /// Its exit codes.
    pub exits: &'static [(u8, &'static str)],
    /// Other commands to look at.
    pub see: &'static [&'static str],
}

impl Page {
    /// Gives the names of the variables it reads, with those that all commands read.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &'static str> {
        self.environment.iter().copied().chain(COLOURS)
    }
}

/// Finds the page of the command with these words.
pub(crate) fn page(path: &str) -> Option<&'static Page> {
    all().find(|page| page.path == path)
}

/// Gives all pages.
pub(crate) fn all() -> impl Iterator<Item = &'static Page> {
    [others::PAGES, routers::PAGES, tunnels::PAGES]
        .into_iter()
        .flatten()
}

/// Gives a variable with what it is for.
pub(crate) fn variable(name: &'static str) -> (&'static str, &'static str) {
    let found = VARIABLES.iter().find(|(known, _)| *known == name);
    found.copied().unwrap_or((name, ""))
}

const CONFIG: &str = "JUMPSTARTER_ROUTER_CONFIG";
const KEYS: &str = "JUMPSTARTER_ROUTER_<SECTION>_<KEY>";
const KEY: &str = "ROUTER_KEY";
const TOKEN: &str = "JUMPSTARTER_ROUTER_TOKEN";
const ADMIN: &str = "JUMPSTARTER_ROUTER_LISTEN_ADMIN_ADDRESS";
const ADMIN_TOKEN: &str = "JUMPSTARTER_ROUTER_ADMIN_TOKEN";
const ADMIN_TOKEN_FILE: &str = "JUMPSTARTER_ROUTER_ADMIN_TOKEN_FILE";
const JMP_HOME: &str = "JMP_CLIENT_CONFIG_HOME";
const PROXY: &str = "https_proxy";
const COLOURS: [&str; 2] = ["NO_COLOR", "CLICOLOR_FORCE"];

const VARIABLES: &[(&str, &str)] = &[
    (CONFIG, "the configuration file, unless --config names one"),
    (
        KEYS,
        "any key of the configuration, such as JUMPSTARTER_ROUTER_PAIRING_TIMEOUT=60s",
    ),
    (
        KEY,
        "the router's key, unless --key-file names a file with it",
    ),
    (
        "GRPC_ROUTER_ENDPOINT",
        "listen.endpoint, as deployments of the upstream router set it",
    ),
    ("EXTERNAL_CERT_PEM", "tls.certificate, likewise"),
    ("EXTERNAL_KEY_PEM", "tls.key, likewise"),
    (TOKEN, "the token, unless an option names one"),
    (
        ADMIN,
        "the address of the admin API, as the router reads it",
    ),
    (ADMIN_TOKEN, "the token of the admin API"),
    (ADMIN_TOKEN_FILE, "a file with that token"),
    (
        "JMP_CLIENT_CONFIG",
        "the client's configuration file, unless an option names one",
    ),
    (
        JMP_HOME,
        "the directory of clients/ and exporters/, instead of ~/.config/jumpstarter",
    ),
    ("JMP_LEASE", "the lease, unless --lease names one"),
    (
        "JMP_ENDPOINT",
        "the controller, with JMP_TOKEN, JMP_NAME and JMP_NAMESPACE in the place of a file, as `jmp` reads them",
    ),
    (
        "JMP_GRPC_INSECURE",
        "any certificate is believed, if it is 1",
    ),
    (
        PROXY,
        "a proxy to go through, the first that is set of grpc_proxy, https_proxy, http_proxy",
    ),
    (
        "no_proxy",
        "hosts and networks that are reached without it; no_grpc_proxy comes before it",
    ),
    ("NO_COLOR", "no colours, if it is set"),
    (
        "CLICOLOR_FORCE",
        "colours even without a terminal, if it is set",
    ),
];

type Exits = &'static [(u8, &'static str)];

/// Of commands that only print.
const PRINTED: Exits = &[
    (0, "it was printed"),
    (1, "it could not be written"),
    (2, "wrong usage"),
];

/// Of `pipe`, `forward`, `dial`, `listen` and `probe`.
const STREAMS: Exits = &[
    (
        0,
        "all went well; what serves connections was ended by SIGINT (Ctrl-C) or SIGTERM",
    ),
    (
        1,
        "the stream broke: the other side failed, the router ended it, or a file or socket here did",
    ),
    (2, "wrong usage"),
    (
        3,
        "the router or controller cannot be reached, is none, or its certificate is not trusted",
    ),
    (4, "refused: the token, the lease, or a limit of the router"),
    (5, "the other side did not come in time"),
    (78, "a configuration file, a key or a token cannot be used"),
    (129, "the terminal was closed (SIGHUP)"),
    (
        130,
        "SIGINT (Ctrl-C) while standard input and output were joined",
    ),
    (
        141,
        "nobody reads standard output any more, and more came for it",
    ),
    (143, "SIGTERM while standard input and output were joined"),
];

/// Of `probe`.
const PROBED: Exits = &[
    (0, "every round went well"),
    (
        1,
        "the stream broke, or a round was slower than --max-setup or --max-latency allow",
    ),
    (2, "wrong usage"),
    (
        3,
        "the router cannot be reached, is none, is not trusted, or took longer than --timeout",
    ),
    (4, "refused: the token, or a limit of the router"),
    (5, "the other side did not come in time"),
    (78, "a file, a key or a token cannot be used"),
];

/// Of `doctor`.
const EXAMINED: Exits = &[
    (0, "nothing failed; there may be warnings"),
    (1, "the first failure: the stream broke"),
    (2, "wrong usage"),
    (
        3,
        "the first failure: the router cannot be reached, is none, or is not trusted",
    ),
    (
        4,
        "the first failure: a refusal of the token, or a limit of the router",
    ),
    (5, "the first failure: two streams did not meet"),
    (78, "a file, a key or a token cannot be used"),
];

const ASKED: Exits = &[
    (0, "done"),
    (1, "the router cannot be asked, or refused"),
    (2, "wrong usage"),
    (130, "SIGINT (Ctrl-C)"),
];

const JMP_FILES: &[(&str, &str)] = &[
    (
        "~/.config/jumpstarter/config.yaml",
        "which client is the current one",
    ),
    (
        "~/.config/jumpstarter/clients/NAME.yaml",
        "clients, as `jmp` writes them",
    ),
    ("~/.config/jumpstarter/exporters/NAME.yaml", "exporters"),
    (
        "/etc/jumpstarter/exporters/NAME.yaml",
        "exporters of the system",
    ),
];

const CONFIG_FILES: &[(&str, &str)] = &[(
    "/etc/jumpstarter-router/config.toml",
    "the configuration file of the package's service",
)];
