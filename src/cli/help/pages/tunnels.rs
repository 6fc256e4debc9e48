//! The commands that use a router.

use super::{JMP_FILES, JMP_HOME, KEY, PRINTED, PROXY, Page, STREAMS, TOKEN, USE};

pub(super) const PAGES: &[Page] = &[
    Page {
        path: "pipe",
        group: USE,
        examples: &[(
            "Send a file; either side may start first",
            "jumpstarter-router token mint --key-file KEY > token\n\
             jumpstarter-router pipe --router r.example.com:443 --token-file token --receive-only > copy\n\
             jumpstarter-router pipe --router r.example.com:443 --token-file token --send-only < file",
        )],
        environment: &[TOKEN, KEY, PROXY, "no_proxy"],
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
        environment: &[TOKEN, KEY, PROXY, "no_proxy"],
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
        environment: &[
            "JMP_CLIENT_CONFIG",
            JMP_HOME,
            "JMP_LEASE",
            "JMP_ENDPOINT",
            "JMP_GRPC_INSECURE",
            PROXY,
            "no_proxy",
        ],
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
        environment: &[
            JMP_HOME,
            "JMP_ENDPOINT",
            "JMP_GRPC_INSECURE",
            PROXY,
            "no_proxy",
        ],
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
        environment: &[TOKEN, KEY, PROXY, "no_proxy"],
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
];
