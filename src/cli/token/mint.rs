//! `token mint`: signs a token with the router's key.

use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;

use crate::{
    auth::{Claims, mint},
    cli::{exit::Failure, join::credentials::key, print},
};

/// Options of `token mint`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Whoever has the token may be either side of streams with its subject; both sides may use the same one."
)]
pub struct MintArgs {
    /// What the two sides of a stream share [default: a random one]
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub subject: Option<String>,
    /// How long streams may be opened with it; those that are open go on
    #[arg(long, value_name = "TIME", value_parser = lifetime, default_value = "30m")]
    pub lifetime: Duration,
    /// File with the router's key, - for standard input [env: the key itself in ROUTER_KEY]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Reads a lifetime of at least a second, as tokens have whole ones.
fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text)
        .map_err(|_| "expected a time such as 90s, 30m or 2days".to_owned())?;
    if lifetime < Duration::from_secs(1) {
        return Err("expected at least 1s".to_owned());
    }
    Ok(lifetime)
}

/// Prints a token.
pub(crate) fn run(args: &MintArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let key = key(args.key_file.as_deref(), env)?;
    let random = || uuid::Uuid::new_v4().to_string();
    let subject = args.subject.clone().unwrap_or_else(random);
    let mut claims = Claims::new(subject, SystemTime::now());
    claims.exp = claims.iat.saturating_add(args.lifetime.as_secs());
    print(mint(&key, &claims) + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_lifetime_is_the_controllers() {
        let usual = Claims::new("", SystemTime::now());
        let usual = Duration::from_secs(usual.exp - usual.iat);
        assert_eq!(lifetime("30m"), Ok(usual));
        assert!(lifetime("0s").is_err() && lifetime("soon").is_err());
    }
}
