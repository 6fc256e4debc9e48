//! The check of a call's token, and how soon a bad one is refused.

use std::time::SystemTime;

use crate::support::{
    case::{KEY, headers},
    group,
};
use criterion::{Criterion, Throughput, criterion_group};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jumpstarter_router::inside::auth::{Key, KeyRing, Refusal, Rules};

const OTHER: &[u8] = b"quite another key, just as long a one";

fn rules(keys: &[&[u8]]) -> Rules {
    let keys = keys.iter().map(|secret| Key::new("key", secret));
    Rules::new(KeyRing::new(keys).unwrap())
}

fn auth(criterion: &mut Criterion) {
    let mut group = group(criterion, "auth");
    group.throughput(Throughput::Elements(1));
    let now = SystemTime::now();
    let one = rules(&[KEY]);
    let three = rules(&[OTHER, b"a third key, which no token is from", KEY]);
    let good = headers(KEY, "019a0000-0000-7000-8000-000000000000");
    assert!(one.check(&good, now).is_ok());
    assert!(
        three
            .check(&good, now)
            .is_ok_and(|admission| admission.key == 2)
    );
    group.bench_function("admit/one_key", |bencher| {
        bencher.iter(|| one.check(&good, now));
    });
    group.bench_function("admit/third_of_three_keys", |bencher| {
        bencher.iter(|| three.check(&good, now));
    });

    let forged = headers(OTHER, "019a0000-0000-7000-8000-000000000000");
    assert_eq!(one.check(&forged, now), Err(Refusal::Signature));
    group.bench_function("refuse/signature", |bencher| {
        bencher.iter(|| one.check(&forged, now));
    });

    let bearer = |text: String| {
        let value = HeaderValue::try_from(format!("Bearer {text}")).unwrap();
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    };
    for (name, headers) in [
        ("refuse/too_long", bearer("x".repeat(9_000))),
        ("refuse/not_a_token", bearer("x".repeat(400))),
        ("refuse/no_header", HeaderMap::new()),
    ] {
        assert!(one.check(&headers, now).is_err());
        group.bench_function(name, |bencher| {
            bencher.iter(|| one.check(&headers, now));
        });
    }
    group.finish();
}

criterion_group!(benches, auth);
