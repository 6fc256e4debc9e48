//! `token inspect`: says what is in a token, and whether the router would accept it.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    auth::{Inspection, Key, KeyRing, Refusal, Rules},
    cli::{
        config_args::in_the_open,
        exit::{Exit, Failure},
        join::credentials::{KEY_ENV, key, read},
        out::{self, print},
        variable,
    },
    common::text::printable,
    config::{Config, TOKEN_ENV},
};

// No `Debug`: the token is a secret.
/// Options of `token inspect`.
#[derive(Args, Clone)]
pub struct InspectArgs {
    /// The token, a file with it, or - for standard input [env: JUMPSTARTER_ROUTER_TOKEN]
    #[arg(value_name = "TOKEN|FILE")]
    pub token: Option<String>,
    /// File with a key of the router; may be repeated [env: the key itself in ROUTER_KEY]
    #[arg(long, value_name = "FILE")]
    pub key_file: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Says what a token holds.
pub(crate) fn run(args: &InspectArgs, env: &[(String, OsString)]) -> Result<(), Failure> {
    let text = token(args, env)?;
    let text = text.trim();
    let text = text.strip_prefix("Bearer ").unwrap_or(text).trim_start();
    let keys = keys(args, env)?;
    let (rules, named) = rules(&keys);
    let now = SystemTime::now();
    let (report, accepted) = match Inspection::of(text, &rules, now) {
        Ok(inspection) => {
            let verdict = Verdict::new(&inspection, &rules, named);
            let report = if args.json {
                as_json(&inspection, &verdict)
            } else {
                as_text(&inspection, &verdict, now)
            };
            (report, verdict.result.is_ok())
        }
        Err(refusal) => {
            let report = if args.json {
                format!(
                    "{}\n",
                    json!({ "accepted": false, "why": refusal.to_string() })
                )
            } else {
                format!(
                    "{refusal}\nA router token has three parts in base64, with dots between them, such as `token mint` prints.\n"
                )
            };
            (report, false)
        }
    };
    print(report)?;
    if accepted {
        Ok(())
    } else {
        Err(Failure::silent(Exit::Broken))
    }
}

/// Says in a sentence whether a router with the key in the environment, if there is one, would accept the token at `now`.
pub(in crate::cli) fn summary(
    text: &str,
    env: &[(String, OsString)],
    now: SystemTime,
) -> (bool, String) {
    let keys: Vec<_> = environment_key(env).into_iter().collect();
    let (rules, named) = rules(&keys);
    let inspection = match Inspection::of(text, &rules, now) {
        Ok(inspection) => inspection,
        Err(refusal) => return (false, refusal.to_string()),
    };
    let verdict = Verdict::new(&inspection, &rules, named);
    let claim = |name: &str| inspection.claims.get(name).map(ToString::to_string);
    let subject = claim("sub").unwrap_or_else(|| "none".to_owned());
    let expires = inspection.claims.get("exp").map(|exp| date(exp, now));
    let expires = expires.unwrap_or_else(|| "never".to_owned());
    let text = format!("subject {subject}, expires {expires}; {}", verdict.why());
    (verdict.result.is_ok(), text)
}

fn environment_key(env: &[(String, OsString)]) -> Option<Key> {
    let secret = variable(KEY_ENV, env);
    secret.map(|secret| Key::new(KEY_ENV, secret.as_bytes()))
}

fn token(args: &InspectArgs, env: &[(String, OsString)]) -> Result<String, Failure> {
    match args.token.as_deref() {
        Some("-") => read(Path::new("-"), "TOKEN"),
        // No token is the name of a file that exists.
        Some(text) if Path::new(text).is_file() => read(Path::new(text), "TOKEN"),
        Some(text) => {
            let instead = "a file, - for standard input, or JUMPSTARTER_ROUTER_TOKEN";
            out::warning(in_the_open("TOKEN", instead));
            Ok(text.to_owned())
        }
        None => match variable(TOKEN_ENV, env) {
            Some(token) => Ok(token),
            None if !io::stdin().is_terminal() => read(Path::new("-"), "TOKEN").map_err(|error| {
                let instead = format!("name a file with the token, or set {TOKEN_ENV}");
                Failure::config(format_args!("{error}; {instead}"))
            }),
            None => Err(Failure::config(format_args!(
                "no token: name it or a file with it, or set {TOKEN_ENV}"
            ))),
        },
    }
}

fn keys(args: &InspectArgs, env: &[(String, OsString)]) -> Result<Vec<Key>, Failure> {
    if args.key_file.is_empty() {
        return Ok(environment_key(env).into_iter().collect());
    }
    let named = |path: &PathBuf| {
        let secret = key(Some(path), env)?;
        Ok(Key::new(path.display().to_string(), &secret))
    };
    args.key_file.iter().map(named).collect()
}

/// Gives the rules of a router with the usual settings, and whether there are keys to check signatures with.
fn rules(keys: &[Key]) -> (Rules, bool) {
    let named = !keys.is_empty();
    // Rules need a key. One that nobody knows does not vouch for anything.
    let nobodys = || vec![Key::new("none", uuid::Uuid::new_v4().as_bytes())];
    let keys = if named { keys.to_vec() } else { nobodys() };
    let ring = KeyRing::new(keys).expect("keys were read, and none is empty");
    let auth = Config::default().auth;
    let rules = Rules {
        issuer: auth.issuer,
        audience: auth.audience,
        leeway: auth.leeway,
        max_token_size: auth.max_token_size.bytes(),
        keys: ring,
    };
    (rules, named)
}

/// Holds what is said in the end.
struct Verdict {
    signature: String,
    /// Why it is accepted, or refused.
    result: Result<&'static str, Refusal>,
}

impl Verdict {
    /// `checked`: there was a key to compare with.
    fn new(inspection: &Inspection, rules: &Rules, checked: bool) -> Self {
        let claims = &inspection.claims_verdict;
        let result = match (&inspection.verdict, claims) {
            (Ok(_), _) => Ok("the router accepts it"),
            (Err(Refusal::Signature), Ok(())) if !checked => Ok(
                "the claims are good; the signature was not checked, as there is no key (--key-file, ROUTER_KEY)",
            ),
            (Err(Refusal::Signature), Err(refusal)) if !checked => Err(refusal.clone()),
            (Err(refusal), _) => Err(refusal.clone()),
        };
        let signature = match (&inspection.verdict, &inspection.near_miss) {
            _ if !checked => "not checked".to_owned(),
            (Ok(admission), _) => format!("good, by {}", rules.keys.keys()[admission.key].name()),
            // The signature is looked at before the claims.
            (Err(refusal), _) if claims.as_ref() == Err(refusal) => {
                "good, by one of the given keys".to_owned()
            }
            (Err(_), None) => "by none of the given keys".to_owned(),
            (Err(_), Some(miss)) => format!("by none of the given keys, but {miss}"),
        };
        Self { signature, result }
    }

    fn why(&self) -> String {
        let accepted = self.result.as_ref().map(ToString::to_string);
        accepted.unwrap_or_else(ToString::to_string)
    }
}

fn as_json(inspection: &Inspection, verdict: &Verdict) -> String {
    let object = json!({
        "header": inspection.header,
        "claims": inspection.claims,
        "signature": verdict.signature,
        "accepted": verdict.result.is_ok(),
        "why": verdict.why(),
        "answer": verdict.result.as_ref().err().map(Refusal::message),
    });
    format!("{object:#}\n")
}

fn as_text(inspection: &Inspection, verdict: &Verdict, now: SystemTime) -> String {
    let mut text = String::new();
    for (name, part) in [
        ("header", &inspection.header),
        ("claims", &inspection.claims),
    ] {
        let _ = writeln!(text, "{name}:");
        for (key, value) in part.as_object().into_iter().flatten() {
            let _ = write!(
                text,
                "  {:<4} {}",
                printable(key),
                printable(&value.to_string())
            );
            if matches!(key.as_str(), "exp" | "nbf" | "iat") {
                let _ = write!(text, "  {}", date(value, now));
            }
            text.push('\n');
        }
    }
    let _ = writeln!(text, "signature: {}", verdict.signature);
    let word = if verdict.result.is_ok() {
        "accepted"
    } else {
        "refused"
    };
    let _ = writeln!(text, "{word}: {}", verdict.why());
    if let Err(refusal) = &verdict.result {
        let answer = refusal.message();
        let _ = writeln!(text, "the peer is told: UNAUTHENTICATED {answer:?}");
    }
    text
}

/// Writes a date for people, and how far away it is.
fn date(value: &Value, now: SystemTime) -> String {
    /// The end of the year 9999: no usual format has later dates.
    const LATEST: f64 = 253_402_300_799.0;
    let Some(seconds) = value
        .as_f64()
        .filter(|seconds| (0.0..LATEST).contains(seconds))
    else {
        return String::new();
    };
    let at = UNIX_EPOCH + Duration::from_secs_f64(seconds);
    let (far, word) = match at.duration_since(now) {
        Ok(ahead) => (ahead, "from now"),
        Err(error) => (error.duration(), "ago"),
    };
    let far = humantime::format_duration(Duration::from_secs(far.as_secs()));
    format!("{} ({far} {word})", humantime::format_rfc3339_seconds(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::text::tests::{HOSTILE, assert_harmless};

    #[test]
    fn what_strangers_write_into_tokens_is_harmless() {
        let inspection = Inspection {
            header: json!({ HOSTILE: 1 }),
            claims: json!({ "sub": HOSTILE }),
            claims_verdict: Ok(()),
            verdict: Err(Refusal::Signature),
            near_miss: None,
        };
        let (rules, named) = rules(&[]);
        let verdict = Verdict::new(&inspection, &rules, named);
        let text = as_text(&inspection, &verdict, UNIX_EPOCH);
        let shown: Vec<_> = text.lines().filter(|line| line.contains("[2J")).collect();
        assert_eq!(shown.len(), 2, "{text}");
        shown.into_iter().for_each(assert_harmless);
    }
}
