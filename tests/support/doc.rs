// What the examples in the documentation of `client` need: a router on a free port.

use std::time::SystemTime;

use jumpstarter_router::{
    auth::{Claims, mint},
    config::{Config, Secret},
    server::Server,
};

/// A router, and a token for it.
pub async fn router() -> (Server, String) {
    let key = "an example's signing key of 32 bytes";
    let mut config = Config::default();
    config.listen.address = ([127, 0, 0, 1], 0).into();
    config.listen.health_address = None;
    config.listen.admin_address = None;
    config.auth.key = Some(Secret::new(key));
    let server = Server::start(&config).await.expect("a free port");
    let token = mint(key.as_bytes(), &Claims::new("example", SystemTime::now()));
    (server, token)
}
