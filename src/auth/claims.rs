//! Checks the claims of a token whose signature is good.

use serde_json::Value;

use super::{Refusal, Rules, date, token};

/// Checks all claims at `now` (nanoseconds from the epoch) and returns the subject and the expiry. Without a time, dates are
/// not looked at.
pub(super) fn check(
    rules: &Rules,
    payload: &[u8],
    now: Option<i128>,
) -> Result<(String, i128), Refusal> {
    let [iss, aud, sub, jti, exp, nbf, iat] =
        token::members(payload, ["iss", "aud", "sub", "jti", "exp", "nbf", "iat"])?;

    if text("iss", required("iss", iss)?)? != rules.issuer {
        return Err(Refusal::Issuer {
            expected: rules.issuer.clone(),
        });
    }
    if !is_meant_for(&required("aud", aud)?, &rules.audience)? {
        return Err(Refusal::Audience {
            expected: rules.audience.clone(),
        });
    }

    // RFC 7519 section 4.1.4: not accepted "on or after" exp. No tolerance here: a router that
    // lengthens lives would accept what the controller has already given up.
    let expiry = time("exp", &required("exp", exp)?)?;
    if let Some(now) = now {
        check_dates(rules, now, expiry, nbf, iat)?;
    }

    // Not compared with anything, but upstream refuses a jti that is no string.
    if let Some(id) = jti {
        text("jti", id)?;
    }
    let subject = text("sub", required("sub", sub)?)?;
    if subject.is_empty() {
        return Err(Refusal::EmptySubject);
    }
    Ok((subject, expiry))
}

fn check_dates(
    rules: &Rules,
    now: i128,
    expiry: i128,
    nbf: Option<Value>,
    iat: Option<Value>,
) -> Result<(), Refusal> {
    if now >= expiry {
        return Err(Refusal::Expired {
            by: date::between(expiry, now),
        });
    }

    // RFC 7519 section 4.1.5 allows some leeway for nbf. Without it a router whose clock is a
    // second behind the controller's refuses every fresh token.
    let latest = now.saturating_add(date::from_duration(rules.leeway));
    if let Some(begin) = optional_time("nbf", nbf)?
        && latest < begin
    {
        return Err(Refusal::NotYetValid {
            by: date::between(now, begin),
        });
    }
    // The RFC gives iat no such meaning (section 4.1.6); upstream asks its library for the check.
    if let Some(issued) = optional_time("iat", iat)?
        && latest < issued
    {
        return Err(Refusal::IssuedInFuture {
            by: date::between(now, issued),
        });
    }
    Ok(())
}

fn required(claim: &'static str, value: Option<Value>) -> Result<Value, Refusal> {
    value.ok_or(Refusal::ClaimMissing(claim))
}

fn text(claim: &'static str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Refusal::ClaimType(claim)),
    }
}

fn time(claim: &'static str, value: &Value) -> Result<i128, Refusal> {
    value
        .as_number()
        .and_then(date::from_json)
        .ok_or(Refusal::ClaimType(claim))
}

fn optional_time(claim: &'static str, value: Option<Value>) -> Result<Option<i128>, Refusal> {
    value.map(|value| time(claim, &value)).transpose()
}

/// Looks for the audience in one string or a list of strings (RFC 7519 section 4.1.3). As upstream, a list with anything
/// but strings is refused even if the right one is in it; an empty list is meant for nobody.
fn is_meant_for(audience: &Value, wanted: &str) -> Result<bool, Refusal> {
    const TYPE: Refusal = Refusal::ClaimType("aud");
    match audience {
        Value::String(only) => Ok(only == wanted),
        Value::Array(list) => list.iter().try_fold(false, |found, member| {
            Ok(found | (member.as_str().ok_or(TYPE)? == wanted))
        }),
        _ => Err(TYPE),
    }
}
