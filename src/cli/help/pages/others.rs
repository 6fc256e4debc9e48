//! The program itself, and the commands that develop, measure and help.

use super::{CONFIG_FILES, DEVELOP, KEY, KEYS, PRINTED, Page, RUN, SHELL};

pub(super) const PAGES: &[Page] = &[
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
