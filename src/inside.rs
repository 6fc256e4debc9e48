//! Shows tests, benches and examples of this package what they need of its inside. Nothing of it is promised to anybody.

#![allow(missing_docs)]

#[cfg(feature = "server")]
pub mod admin {
    pub mod api {
        pub use crate::admin::api::paths;
    }
}
#[cfg(feature = "mint")]
pub mod auth {
    pub use crate::auth::{Admission, Claims, Key, KeyRing, Refusal, Rules, mint};
}
#[cfg(feature = "cli")]
pub mod cli {
    pub mod args {
        pub use crate::cli::args::{Cli, Command, command, parse};
    }
    pub mod check {
        pub use crate::cli::check::run;
    }
    pub mod exit {
        pub use crate::cli::exit::Exit;
    }
    pub mod health {
        pub use crate::cli::health::addresses;
    }
    pub mod load {
        pub mod delay {
            pub use crate::cli::load::delay::start;
        }
        pub mod dial {
            pub use crate::cli::load::dial::{Dialer, End};
        }
        pub mod failure {
            pub use crate::cli::load::failure::Failure;
        }
        pub mod pair {
            pub use crate::cli::load::pair::Setup;
        }
        pub mod pattern {
            pub use crate::cli::load::pattern::{Pattern, Sizes, mix};
        }
        pub mod report {
            pub use crate::cli::load::report::{GeneratorFigures, RouterFigures};
        }
        pub mod run {
            pub use crate::cli::load::run::Run;
        }
        pub mod usage {
            pub use crate::cli::load::usage::Usage;
        }
    }
    pub mod top {
        pub use crate::cli::top::screen::Screen;
    }
}
#[cfg(feature = "server")]
pub mod config {
    pub use crate::config::{
        Config, ENV_PREFIX, Origin, Override, SECTIONS, Secret, Size, Sources, effective, example,
        find, keys, load,
    };
}
#[cfg(feature = "client")]
pub mod grpc {
    pub mod call {
        pub use crate::grpc::call::PATH;
    }
}
#[cfg(feature = "lab")]
pub mod lab {
    pub use crate::lab::{Lab, Options};
}
#[cfg(feature = "server")]
pub mod observe {
    pub mod metrics {
        pub use crate::observe::metrics::{
            AdminAction, AdminRefusal, CallRefusal, ConnectionAccept, ConnectionEnd, Label,
            Metrics, PacedBy, RouterProof, TlsHandshake,
        };
    }
}
#[cfg(feature = "server")]
pub mod pairing {
    pub mod table {
        pub use crate::pairing::table::{Place, Refused, Table};
    }
}
#[cfg(feature = "server")]
pub mod server {
    pub use crate::server::{Drained, Server};
}
#[cfg(feature = "client")]
pub mod splice {
    pub use crate::splice::{Broken, Sink, Source};
    pub mod ending {
        pub use crate::splice::ending::{Cause, Ending, GOAWAY_MESSAGE};
    }
    pub mod lane {
        pub use crate::splice::lane::{LaneReceiver, LaneSender, Next, lane};
    }
    pub mod scanner {
        pub use crate::splice::scanner::Scanner;
    }
    pub mod side {
        pub use crate::splice::side::Side;
    }
}
#[cfg(feature = "client")]
pub mod tls {
    pub mod provider {
        pub use crate::tls::provider::Provider;
    }
    pub mod trust {
        pub use crate::tls::trust::{Trust, client_config};
    }
}
#[cfg(feature = "server")]
pub mod transport {
    pub mod accept {
        pub use crate::transport::accept::{Who, run};
    }
    pub mod call {
        pub mod refusal {
            pub use crate::transport::call::refusal::CAUSES;
        }
    }
    pub mod http2 {
        pub mod connection {
            pub use crate::transport::http2::connection::serve;
        }
        pub mod wire {
            pub use crate::transport::http2::wire::{Gather, Wire};
        }
    }
    pub mod limits {
        pub mod calls {
            pub use crate::transport::limits::calls::CALL;
        }
        pub mod spares {
            pub use crate::transport::limits::spares::SPARE_AFTER;
        }
    }
    pub mod memory {
        pub mod budget {
            pub use crate::transport::memory::budget::Budget;
        }
    }
    pub mod phase {
        pub use crate::transport::phase::Phase;
    }
    pub mod settings {
        pub use crate::transport::settings::Settings;
    }
    pub mod shared {
        pub use crate::transport::shared::Shared;
    }
    pub mod wake_flag {
        pub use crate::transport::wake_flag::WakeFlag;
    }
    pub mod tls {
        pub mod settings {
            pub use crate::transport::tls::settings::{
                Terms, certified, self_signed, server_config,
            };
        }
    }
}
