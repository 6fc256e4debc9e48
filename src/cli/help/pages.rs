//! The texts of each command: what belongs to it besides its options.

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
    PAGES.iter()
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
    ("NO_COLOR", "no colours, if it is set"),
    (
        "CLICOLOR_FORCE",
        "colours even without a terminal, if it is 1",
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

const PAGES: &[Page] = &[
    Page {
        path: "",
        group: RUN,
        examples: &[
            ("Try it without anything else", "jumpstarter-router lab"),
            (
                "Run a router, and see whether it works",
                "jumpstarter-router serve --config config.toml\n\
                 jumpstarter-router probe --router localhost:8083 --insecure --key-file key",
            ),
            (
                "Carry SSH through it",
                "jumpstarter-router forward --router r.example.com:443 --token-file token --to 22\n\
                 jumpstarter-router forward --router r.example.com:443 --token-file token --listen 2222",
            ),
        ],
        environment: &[],
        files: CONFIG_FILES,
        exits: &[],
        see: &[],
    },
    Page {
        path: "serve",
        group: RUN,
        examples: &[
            (
                "With a file, and one key changed",
                "jumpstarter-router serve --config config.toml --set pairing.timeout=60s",
            ),
            (
                "Take a changed configuration in, drain, end at once",
                "kill -HUP PID; kill -TERM PID; kill -TERM PID",
            ),
        ],
        environment: &[
            CONFIG,
            KEYS,
            KEY,
            "GRPC_ROUTER_ENDPOINT",
            "EXTERNAL_CERT_PEM",
            "EXTERNAL_KEY_PEM",
        ],
        files: CONFIG_FILES,
        exits: &[
            (0, "it was drained, by SIGTERM, SIGINT or an administrator"),
            (1, "a second SIGTERM or SIGINT ended it, or it failed"),
            (2, "wrong usage"),
            (
                78,
                "the configuration is wrong, and stays so until somebody changes it",
            ),
        ],
        see: &["check", "health", "top"],
    },
    Page {
        path: "check",
        group: RUN,
        examples: &[
            (
                "See what is in effect, and from where",
                "jumpstarter-router check --config config.toml",
            ),
            (
                "Begin a configuration file",
                "jumpstarter-router check --example > config.toml",
            ),
        ],
        environment: &[
            CONFIG,
            KEYS,
            KEY,
            "GRPC_ROUTER_ENDPOINT",
            "EXTERNAL_CERT_PEM",
            "EXTERNAL_KEY_PEM",
        ],
        files: CONFIG_FILES,
        exits: &[
            (0, "`serve` would start, but for the ports"),
            (1, "the values could not be written"),
            (2, "wrong usage"),
            (78, "something is wrong, and all of it is on standard error"),
        ],
        see: &["serve"],
    },
    Page {
        path: "health",
        group: RUN,
        examples: &[
            (
                "Wait until a router is ready",
                "until jumpstarter-router health; do sleep 1; done",
            ),
            (
                "Ask another one",
                "jumpstarter-router health --address r.example.com:8081 --live",
            ),
        ],
        environment: &[CONFIG, KEYS],
        files: CONFIG_FILES,
        exits: &[
            (0, "the router is well"),
            (1, "it is not, or does not answer"),
            (2, "wrong usage"),
        ],
        see: &["probe", "serve"],
    },
    Page {
        path: "pipe",
        group: USE,
        examples: &[(
            "Send a file; either side may start first",
            "jumpstarter-router token mint --key-file KEY > token\n\
             jumpstarter-router pipe --router r.example.com:443 --token-file token --receive-only > copy\n\
             jumpstarter-router pipe --router r.example.com:443 --token-file token --send-only < file",
        )],
        environment: &[TOKEN, KEY],
        files: &[],
        exits: STREAMS,
        see: &["forward", "token mint"],
    },
    Page {
        path: "forward",
        group: USE,
        examples: &[(
            "Reach the SSH server behind a firewall: there, here, and then",
            "jumpstarter-router forward --router r.example.com:443 --token-file token --to 22\n\
             jumpstarter-router forward --router r.example.com:443 --token-file token --listen 2222\n\
             ssh -p 2222 localhost",
        )],
        environment: &[TOKEN, KEY],
        files: &[],
        exits: STREAMS,
        see: &["pipe", "token mint"],
    },
    Page {
        path: "dial",
        group: USE,
        examples: &[
            (
                "Use a lease through a socket",
                "jumpstarter-router dial --lease NAME --listen unix:/tmp/board.sock\n\
                 JMP_DRIVERS_ALLOW=UNSAFE JUMPSTARTER_HOST=/tmp/board.sock j power on",
            ),
            (
                "Reach what `listen` offers",
                "jumpstarter-router dial --lease NAME --listen 2222",
            ),
        ],
        environment: &["JMP_CLIENT_CONFIG", JMP_HOME, "JMP_LEASE"],
        files: JMP_FILES,
        exits: STREAMS,
        see: &["listen", "forward"],
    },
    Page {
        path: "listen",
        group: USE,
        examples: &[(
            "Be an exporter whose service is a port",
            "jumpstarter-router listen --exporter NAME --to 22",
        )],
        environment: &[JMP_HOME],
        files: JMP_FILES,
        exits: STREAMS,
        see: &["dial", "forward"],
    },
    Page {
        path: "token",
        group: USE,
        examples: &[(
            "Make one, and look at it",
            "jumpstarter-router token mint --key-file KEY > token\n\
             jumpstarter-router token inspect token --key-file KEY",
        )],
        environment: &[KEY, TOKEN],
        files: &[],
        exits: PRINTED,
        see: &["token mint", "token inspect", "pipe"],
    },
    Page {
        path: "token mint",
        group: USE,
        examples: &[(
            "Make a token for two hours; both sides of a stream may use it",
            "jumpstarter-router token mint --key-file KEY --lifetime 2h > token",
        )],
        environment: &[KEY],
        files: &[],
        exits: &[
            (0, "the token was printed"),
            (2, "wrong usage"),
            (78, "there is no key"),
        ],
        see: &["token inspect", "pipe"],
    },
    Page {
        path: "token inspect",
        group: USE,
        examples: &[
            (
                "Ask whether a router would accept it",
                "jumpstarter-router token inspect token --key-file KEY",
            ),
            (
                "Look at one that is piped in",
                "jumpstarter-router token inspect - --json < token",
            ),
        ],
        environment: &[TOKEN, KEY],
        files: &[],
        exits: &[
            (
                0,
                "the router would accept it; without a key: nothing is wrong but for the signature, which was not checked",
            ),
            (1, "the router would refuse it, or it is no token"),
            (2, "wrong usage"),
            (78, "a file cannot be read, or there is no token to look at"),
        ],
        see: &["token mint"],
    },
    Page {
        path: "probe",
        group: LOOK,
        examples: &[
            (
                "Try a router once, with limits",
                "jumpstarter-router probe --router r.example.com:443 --key-file KEY --max-setup 2s --max-latency 200ms",
            ),
            (
                "Watch one for good",
                "jumpstarter-router probe --router r.example.com:443 --key-file KEY --count 0 --json >> probe.jsonl",
            ),
        ],
        environment: &[TOKEN, KEY],
        files: &[],
        exits: PROBED,
        see: &["health", "load"],
    },
    Page {
        path: "top",
        group: LOOK,
        examples: &[
            (
                "Look at the router of this machine",
                "jumpstarter-router top",
            ),
            (
                "Print one table",
                "jumpstarter-router top --once --sort stalled",
            ),
        ],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["streams"],
    },
    Page {
        path: "streams",
        group: LOOK,
        examples: &[
            (
                "Find a stream, and end it",
                "jumpstarter-router streams list --filter board-7\njumpstarter-router streams end 12",
            ),
            (
                "Drain a router, and wait until it has stopped",
                "jumpstarter-router streams drain --wait",
            ),
        ],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["streams list", "streams end", "streams drain", "top"],
    },
    Page {
        path: "streams list",
        group: LOOK,
        examples: &[
            (
                "Those that stand still come first",
                "jumpstarter-router streams list --sort stalled",
            ),
            ("For programs", "jumpstarter-router streams list --json"),
        ],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["streams end", "top"],
    },
    Page {
        path: "streams end",
        group: LOOK,
        examples: &[("End two", "jumpstarter-router streams end 12 15")],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["streams list"],
    },
    Page {
        path: "streams drain",
        group: LOOK,
        examples: &[(
            "Wait until it has stopped",
            "jumpstarter-router streams drain --wait",
        )],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["serve", "streams list"],
    },
    #[cfg(feature = "lab")]
    Page {
        path: "lab",
        group: DEVELOP,
        examples: &[
            ("Run one in ./lab", "jumpstarter-router lab"),
            (
                "Shell on its exporter, in another terminal",
                "JMP_CLIENT_CONFIG_HOME=lab jmp shell -n EXPORTER",
            ),
        ],
        environment: &[KEY, KEYS],
        files: &[
            ("DIRECTORY/lab.toml", "who takes part"),
            (
                "DIRECTORY/clients/, DIRECTORY/exporters/",
                "configuration files for `jmp`",
            ),
            ("DIRECTORY/state.redb", "leases, over restarts"),
        ],
        exits: &[
            (0, "it was ended, by SIGINT (Ctrl-C) or SIGTERM"),
            (1, "it failed"),
            (2, "wrong usage"),
            (78, "lab.toml or a setting is wrong"),
        ],
        see: &["dial", "listen", "serve"],
    },
    #[cfg(feature = "load")]
    Page {
        path: "load",
        group: DEVELOP,
        examples: &[
            (
                "Measure a router of this machine, and what it costs",
                "jumpstarter-router load --router 8083 --insecure --key-file KEY --pairs 10 --pid \"$(pidof jumpstarter-router)\"",
            ),
            (
                "Round trips over a distance, for programs",
                "jumpstarter-router load --router 8083 --insecure --key-file KEY --workload pingpong --delay 25ms --json -",
            ),
        ],
        environment: &[KEY],
        files: &[],
        exits: &[
            (0, "there was no error at all"),
            (1, "there were errors, which the report counts"),
            (2, "wrong usage"),
            (3, "the name of --second-router is not known"),
            (78, "a file or the key cannot be used"),
            (130, "SIGINT (Ctrl-C)"),
        ],
        see: &["probe"],
    },
    Page {
        path: "completions",
        group: SHELL,
        examples: &[
            (
                "For bash, from now on",
                "jumpstarter-router completions bash > ~/.local/share/bash-completion/completions/jumpstarter-router",
            ),
            (
                "For this bash",
                "source <(jumpstarter-router completions bash)",
            ),
            (
                "For zsh, with a directory of fpath",
                "jumpstarter-router completions zsh > DIRECTORY/_jumpstarter-router",
            ),
        ],
        environment: &[],
        files: &[],
        exits: PRINTED,
        see: &["man"],
    },
    Page {
        path: "man",
        group: SHELL,
        examples: &[
            ("Read one", "jumpstarter-router man forward | man -l -"),
            (
                "Write all",
                "jumpstarter-router man --directory /usr/local/share/man/man1",
            ),
        ],
        environment: &[],
        files: &[],
        exits: PRINTED,
        see: &["completions"],
    },
];
