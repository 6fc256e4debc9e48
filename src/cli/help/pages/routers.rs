//! The commands that run a router or look at one.

use super::{
    ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE, ASKED, CONFIG, CONFIG_FILES, EXAMINED, KEY, KEYS, LOOK,
    PROBED, PROXY, Page, RUN, TOKEN,
};

pub(super) const PAGES: &[Page] = &[
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
        path: "doctor",
        group: LOOK,
        examples: &[
            (
                "Find out why a client or an exporter does not get through, where it runs",
                "jumpstarter-router doctor --router r.example.com:443 --ca ca.pem --key-file KEY",
            ),
            (
                "See whether the two halves of a pair meet at different routers",
                "jumpstarter-router doctor --router r1.example.com:443 --second-router r2.example.com:443 --key-file KEY",
            ),
        ],
        environment: &[TOKEN, KEY, PROXY, "no_proxy"],
        files: &[],
        exits: EXAMINED,
        see: &["probe", "token inspect"],
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
        environment: &[TOKEN, KEY, PROXY, "no_proxy"],
        files: &[],
        exits: PROBED,
        see: &["doctor", "health", "load"],
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
        see: &[
            "streams list",
            "streams past",
            "streams end",
            "streams drain",
            "top",
        ],
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
        path: "streams show",
        group: LOOK,
        examples: &[(
            "All that is known of a stream, running or ended",
            "jumpstarter-router streams show 12",
        )],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["streams list", "streams past"],
    },
    Page {
        path: "streams past",
        group: LOOK,
        examples: &[
            (
                "Why did the shell on this board end?",
                "jumpstarter-router streams past --filter board-7",
            ),
            (
                "Who is refused?",
                "jumpstarter-router streams past --only refused",
            ),
        ],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["streams show", "top"],
    },
    Page {
        path: "streams config",
        group: LOOK,
        examples: &[(
            "See what is in force, and from where",
            "jumpstarter-router streams config",
        )],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["check"],
    },
    Page {
        path: "streams log-filter",
        group: LOOK,
        examples: &[(
            "Say more until the next start",
            "jumpstarter-router streams log-filter debug",
        )],
        environment: &[ADMIN, ADMIN_TOKEN, ADMIN_TOKEN_FILE],
        files: &[],
        exits: ASKED,
        see: &["serve"],
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
];
