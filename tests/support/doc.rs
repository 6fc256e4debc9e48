// What the examples in the documentation of `client` need: a router on a free port.

use jumpstarter_router::{Config, Secret, Server, client::Token};

/// A router, and a token for it.
pub async fn router() -> (Server, Token) {
    let key = "an example's signing key of 32 bytes";
    let mut config = Config::default();
    config.listen.address = ([127, 0, 0, 1], 0).into();
    config.listen.health_address = None;
    config.listen.admin_address = None;
    config.auth.key = Some(Secret::new(key));
    let server = Server::start(&config).await.expect("a free port");
    (server, Token::mint(key, "example"))
}
