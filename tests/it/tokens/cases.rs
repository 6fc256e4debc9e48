//! The table of cases, one line each.

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use super::forge::*;

/// Expected: the subject, or the cause of the refusal.
pub type Expected = Result<&'static str, &'static str>;

pub struct Case {
    pub name: &'static str,
    pub values: Vec<String>,
    /// Milliseconds from `NOW`.
    pub clock: i64,
    pub leeway: u64,
    pub expected: Expected,
}

#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn header(&mut self, name: &'static str, values: &[&str], expected: Expected) {
        let values = values.iter().map(ToString::to_string).collect();
        self.0.push(Case {
            name,
            values,
            clock: 0,
            leeway: 0,
            expected,
        });
    }

    fn token(&mut self, name: &'static str, token: &str, expected: Expected) {
        self.header(name, &[&format!("Bearer {token}")], expected);
    }

    fn timed(&mut self, name: &'static str, token: &str, when: (i64, u64), expected: Expected) {
        self.token(name, token, expected);
        let case = self.0.last_mut().unwrap();
        (case.clock, case.leeway) = when;
    }
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut table = Table::default();
    for fill in [algorithms, signatures, texts, dates, header_values] {
        fill(&mut table);
    }
    table.0
}

#[rustfmt::skip]
fn algorithms(t: &mut Table) {
    let body = claims().to_string();
    for (name, alg) in [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)] {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        t.token(name, &sign(KEY, alg, header.as_bytes(), body.as_bytes()), Ok("s"));
    }
    t.token("HS512 tag under HS256", &sign(KEY, HMAC_SHA512, H256.as_bytes(), body.as_bytes()), Err("signature"));
    let unsigned = format!("{}.{}.", B64.encode(r#"{"alg":"none"}"#), B64.encode(&body));
    t.token("none, unsigned", &unsigned, Err("algorithm"));
    t.token("none, signed", &headed(r#"{"alg":"none"}"#), Err("algorithm"));
    t.token("None", &headed(r#"{"alg":"None"}"#), Err("algorithm"));
    t.token("RS256", &headed(r#"{"alg":"RS256"}"#), Err("algorithm"));
    t.token("ES256", &headed(r#"{"alg":"ES256"}"#), Err("algorithm"));
    t.token("alg in lower case", &headed(r#"{"alg":"hs256"}"#), Err("algorithm"));
    t.token("alg empty", &headed(r#"{"alg":""}"#), Err("algorithm"));
    t.token("alg missing", &headed(r#"{"typ":"JWT"}"#), Err("algorithm"));
    t.token("alg null", &headed(r#"{"alg":null}"#), Err("algorithm"));
    t.token("alg number", &headed(r#"{"alg":256}"#), Err("algorithm"));
    t.token("alg list", &headed(r#"{"alg":["HS256"]}"#), Err("algorithm"));
    t.token("alg twice, last good", &headed(r#"{"alg":"none","alg":"HS256"}"#), Ok("s"));
    t.token("alg twice, last bad", &headed(r#"{"alg":"HS256","alg":"none"}"#), Err("algorithm"));
    t.token("typ, crit and kid of odd types", &headed(r#"{"typ":7,"crit":"x","kid":{},"alg":"HS256"}"#), Ok("s"));
    t.token("header not object", &headed(r#""HS256""#), Err("not_a_token"));
    t.token("header not JSON", &headed("{alg:HS256}"), Err("not_a_token"));
}

#[rustfmt::skip]
fn signatures(t: &mut Table) {
    let good = headed(H256);
    let body = claims().to_string();
    let (signed, tag) = good.rsplit_once('.').unwrap();
    let flipped = if tag.starts_with('A') { "B" } else { "A" };
    t.token("signature changed", &format!("{signed}.{flipped}{}", &tag[1..]), Err("signature"));
    t.token("signature truncated", &good[..good.len() - 3], Err("signature"));
    t.token("signature of odd length", &good[..good.len() - 2], Err("not_a_token"));
    let last = char::from(tag.as_bytes()[tag.len() - 1] + 1);
    t.token("signature with leftover bits", &format!("{signed}.{}{last}", &tag[..tag.len() - 1]), Err("not_a_token"));
    t.token("signature empty", &format!("{signed}."), Err("signature"));
    t.token("claims changed", &format!("{}.{tag}", with("sub", "t").rsplit_once('.').unwrap().0), Err("signature"));
    t.token("claims changed, not JSON", &format!("{}.AAAA.{tag}", B64.encode(H256)), Err("signature"));
    t.token("wrong key", &sign(b"nobody's", HMAC_SHA256, H256.as_bytes(), body.as_bytes()), Err("signature"));
    t.token("key empty", &sign(b"", HMAC_SHA256, H256.as_bytes(), body.as_bytes()), Err("signature"));
    t.token("second key", &sign(OLD_KEY, HMAC_SHA256, H256.as_bytes(), body.as_bytes()), Ok("s"));
    t.token("good signature of the RFC, other issuer", RFC_TOKEN, Err("issuer"));
    t.token("padding", &format!("{good}="), Err("not_a_token"));
    t.token("standard base64", &format!("{signed}.++//"), Err("not_a_token"));
    t.token("garbage base64", "a!b.c d.e", Err("not_a_token"));
    t.token("no parts", "garbage", Err("not_a_token"));
    t.token("only dots", "..", Err("not_a_token"));
    t.token("two parts", signed, Err("not_a_token"));
    t.token("four parts", &format!("{good}.AAAA"), Err("not_a_token"));
    t.token("token within a token", &headed(H256).replace('.', ".."), Err("not_a_token"));
    t.token("claims not object", &hs256(H256, "[1]"), Err("not_a_token"));
    t.token("claims null", &hs256(H256, "null"), Err("not_a_token"));
    t.token("claims not JSON", &hs256(H256, "{"), Err("not_a_token"));
    t.token("claims with more after them", &hs256(H256, &format!("{body}{body}")), Err("not_a_token"));
    t.token("claims not UTF-8", &sign(KEY, HMAC_SHA256, H256.as_bytes(), b"{\"sub\":\"\xff\"}"), Err("not_a_token"));
    let space = LIMIT - good.len();
    t.token("longest token", &with("pad", "p".repeat(space * 3 / 4 - 12)), Ok("s"));
    t.token("too long token", &with("pad", "p".repeat(LIMIT)), Err("token_too_long"));
    t.token("garbage as long as allowed", &"x".repeat(LIMIT), Err("not_a_token"));
    t.token("too long garbage", &"x".repeat(LIMIT + 1), Err("token_too_long"));
}

#[rustfmt::skip]
fn texts(t: &mut Table) {
    let router = "https://jumpstarter.dev/router";
    for (name, claim, expected) in [
        ("iss missing", "iss", Err("claim_missing")),
        ("aud missing", "aud", Err("claim_missing")),
        ("sub missing", "sub", Err("claim_missing")),
        ("exp missing", "exp", Err("claim_missing")),
        ("nbf missing", "nbf", Ok("s")),
        ("iat missing", "iat", Ok("s")),
        ("jti missing", "jti", Ok("s")),
    ] {
        t.token(name, &without(claim), expected);
    }
    t.token("iss wrong", &with("iss", "https://jumpstarter.dev/stream/"), Err("issuer"));
    t.token("iss empty", &with("iss", ""), Err("issuer"));
    t.token("iss null", &with("iss", Value::Null), Err("claim_missing"));
    t.token("iss list", &with("iss", json!(["https://jumpstarter.dev/stream"])), Err("claim_type"));
    t.token("aud string", &with("aud", router), Ok("s"));
    t.token("aud other string", &with("aud", "https://jumpstarter.dev/"), Err("audience"));
    t.token("aud in capitals", &with("aud", router.to_uppercase()), Err("audience"));
    t.token("aud list with other first", &with("aud", json!(["x", router])), Ok("s"));
    t.token("aud list of others", &with("aud", json!(["x", "y"])), Err("audience"));
    t.token("aud list with number last", &with("aud", json!([router, 7])), Err("claim_type"));
    t.token("aud list in list", &with("aud", json!([[router]])), Err("claim_type"));
    t.token("aud empty list", &with("aud", json!([])), Err("audience"));
    t.token("aud list of nothing", &with("aud", json!([""])), Err("audience"));
    t.token("aud object", &with("aud", json!({"aud": router})), Err("claim_type"));
    t.token("aud null", &with("aud", Value::Null), Err("claim_missing"));
    t.token("sub empty", &with("sub", ""), Err("empty_subject"));
    t.token("sub null", &with("sub", Value::Null), Err("claim_missing"));
    t.token("sub number", &with("sub", 1), Err("claim_type"));
    t.token("sub other text", &with_text("sub", r#""\u00e9 \n\u0000""#), Ok("é \n\0"));
    t.token("sub very long", &with("sub", "z".repeat(2000)), Ok(Box::leak("z".repeat(2000).into_boxed_str())));
    t.token("sub too long", &with("sub", "z".repeat(LIMIT)), Err("token_too_long"));
    t.token("sub twice, last counts", &with_text("sub", r#""last""#), Ok("last"));
    t.token("sub twice, last empty", &with_text("sub", r#""""#), Err("empty_subject"));
    t.token("sub in capitals is another claim", &with_text("SUB", r#""t""#), Ok("s"));
    t.token("sub with escaped name", &with_text(r"\u0073ub", r#""t""#), Ok("t"));
    t.token("jti number", &with("jti", 5), Err("claim_type"));
    t.token("claims one level down", &hs256(H256, &json!({ "claims": claims() }).to_string()), Err("claim_missing"));
    t.token("extra claims", &with("stream", json!({"role": ["client", 1, null]})), Ok("s"));
    t.token("extra claim deeply nested", &with_text("x", &("[".repeat(900) + &"]".repeat(900))), Ok("s"));
    t.token("extra claim beyond every number", &with_text("x", "1e999"), Ok("s"));
}

#[rustfmt::skip]
fn dates(t: &mut Table) {
    let at = |seconds: u64| NOW + seconds;
    t.timed("exp is now", &with("exp", NOW), (0, 0), Err("expired"));
    t.timed("exp one ms ahead", &with("exp", NOW), (-1, 5), Ok("s"));
    t.timed("exp one ms ago", &with("exp", NOW), (1, 0), Err("expired"));
    t.timed("leeway does not lengthen exp", &with("exp", NOW), (0, 3600), Err("expired"));
    t.timed("exp long ago", &with("exp", 1), (0, 0), Err("expired"));
    t.timed("exp fraction ahead", &with("exp", 1_900_000_000.5), (499, 0), Ok("s"));
    t.timed("exp fraction reached", &with("exp", 1_900_000_000.5), (500, 0), Err("expired"));
    t.timed("nbf fraction ahead", &with("nbf", 1_900_000_000.5), (499, 0), Err("not_yet_valid"));
    t.timed("nbf fraction reached", &with("nbf", 1_900_000_000.5), (500, 0), Ok("s"));
    t.timed("iat fraction ahead", &with("iat", 1_900_000_000.5), (499, 0), Err("issued_in_future"));
    t.timed("iat fraction reached", &with("iat", 1_900_000_000.5), (500, 0), Ok("s"));
    t.timed("nbf 1 s ahead", &with("nbf", at(1)), (0, 0), Err("not_yet_valid"));
    t.timed("nbf 1 s ahead, leeway 5 s", &with("nbf", at(1)), (0, 5), Ok("s"));
    t.timed("nbf at the end of the leeway", &with("nbf", at(5)), (0, 5), Ok("s"));
    t.timed("nbf after the leeway", &with("nbf", at(5)), (-1, 5), Err("not_yet_valid"));
    t.timed("nbf of the same ms", &with("nbf", NOW), (0, 0), Ok("s"));
    t.timed("iat 1 s ahead", &with("iat", at(1)), (0, 0), Err("issued_in_future"));
    t.timed("iat 1 s ahead, leeway 5 s", &with("iat", at(1)), (0, 5), Ok("s"));
    t.timed("iat after the leeway", &with("iat", at(6)), (0, 5), Err("issued_in_future"));
    t.timed("fresh token, clock 1.3 s behind", &headed(H256), (-1300, 0), Err("not_yet_valid"));
    t.timed("clock before 1970", &headed(H256), (-2_000_000_000_000, 0), Err("not_yet_valid"));
    t.timed("endless leeway", &with("nbf", u64::MAX), (0, u64::MAX), Ok("s"));
    t.timed("exp in exponent form", &with_text("exp", "1.9000000005E9"), (500, 0), Err("expired"));
    t.token("exp string", &with("exp", at(9).to_string()), Err("claim_type"));
    t.token("exp null", &with("exp", Value::Null), Err("claim_missing"));
    t.token("exp bool", &with("exp", true), Err("claim_type"));
    t.token("exp zero", &with("exp", 0), Err("expired"));
    t.token("exp negative", &with("exp", -1), Err("expired"));
    t.token("exp as low as possible", &with("exp", -1e308), Err("expired"));
    t.token("exp greatest integer", &with("exp", u64::MAX), Ok("s"));
    t.token("exp as high as possible", &with("exp", 1e308), Ok("s"));
    t.token("exp beyond every number", &with_text("exp", "1e999"), Err("not_a_token"));
    t.token("exp NaN", &with_text("exp", "NaN"), Err("not_a_token"));
    t.token("nbf string", &with("nbf", "0"), Err("claim_type"));
    t.token("nbf null", &with("nbf", Value::Null), Ok("s"));
    t.token("nbf negative", &with("nbf", -1e308), Ok("s"));
    t.token("nbf as high as possible", &with("nbf", 1e308), Err("not_yet_valid"));
    t.token("iat list", &with("iat", json!([NOW])), Err("claim_type"));
    t.token("iat as high as possible", &with("iat", 1e308), Err("issued_in_future"));
}

#[rustfmt::skip]
fn header_values(t: &mut Table) {
    let good = headed(H256);
    let bearer = format!("Bearer {good}");
    t.header("header missing", &[], Err("missing_header"));
    t.header("header twice", &[&bearer, &bearer], Err("several_headers"));
    t.header("header twice, one empty", &[&bearer, ""], Err("several_headers"));
    t.header("header empty", &[""], Err("malformed_header"));
    t.header("scheme in lower case", &[&format!("bearer {good}")], Ok("s"));
    t.header("scheme in capitals", &[&format!("BEARER {good}")], Ok("s"));
    t.header("scheme only", &["Bearer"], Err("malformed_header"));
    t.header("scheme and space only", &["Bearer "], Err("not_a_token"));
    t.header("token without scheme", &[&good], Err("malformed_header"));
    t.header("no space", &[&format!("Bearer{good}")], Err("malformed_header"));
    t.header("tab for space", &[&format!("Bearer\t{good}")], Err("malformed_header"));
    t.header("two spaces", &[&format!("Bearer  {good}")], Err("not_a_token"));
    t.header("space before", &[&format!(" {bearer}")], Err("malformed_header"));
    t.header("trailing space", &[&format!("{bearer} ")], Err("not_a_token"));
    t.header("two tokens in one", &[&format!("{bearer}, {bearer}")], Err("not_a_token"));
    t.header("Basic", &["Basic YTpi"], Err("malformed_header"));
    t.header("no ASCII", &["Bearer é.é.é"], Err("malformed_header"));
    t.header("no ASCII across the scheme's end", &["Bearerééé"], Err("malformed_header"));
}
