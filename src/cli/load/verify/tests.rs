#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::BytesMut;

use super::*;
use crate::{
    cli::load::pattern::{Pattern, Sizes},
    protocol::v1::StreamRequest,
};

fn lane(id: u32, sizes: Sizes) -> Lane {
    Lane::new(id, sizes, Arc::new(Pattern::new(7, sizes.longest())))
}

fn message(lane: &Lane, sequence: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    lane.encode(&lane.plan(sequence), &mut out);
    out.to_vec()
}

/// What a verifier says of these bytes, cut into pieces of every length.
fn check(lane: &Lane, verify: Verify, bytes: &[u8]) -> Result<u64, Corruption> {
    let results: Vec<_> = [1, 2, 3, 7, 19, 1000, bytes.len()]
        .into_iter()
        .map(|piece| {
            let mut verifier = Verifier::new(lane.clone(), verify);
            let mut messages = 0;
            for piece in bytes.chunks(piece) {
                messages += verifier.push(piece)?;
            }
            verifier.finish()?;
            Ok(messages)
        })
        .collect();
    let kind = |result: &Result<u64, Corruption>| match result {
        Ok(n) => (Some(*n), None),
        Err(error) => (None, Some(std::mem::discriminant(error))),
    };
    assert!(results.iter().all(|one| kind(one) == kind(&results[0])));
    results[0].clone()
}

#[test]
fn messages_are_what_protobuf_says() {
    for sizes in [0, 1, 8, 127, 128, 16_384, 70_000].map(Sizes::Fixed) {
        let lane = lane(3, sizes);
        let bytes = message(&lane, 5);
        let decoded: StreamRequest = prost::Message::decode(&bytes[5..]).unwrap();
        assert_eq!(decoded.payload.len(), sizes.longest());
        assert_eq!(decoded.frame_type, 0);
        assert_eq!(bytes[1..5], (bytes.len() as u32 - 5).to_be_bytes());
        assert_eq!(lane.plan(5).encoded(), bytes.len());
        if sizes.longest() > 8 {
            assert_ne!(message(&lane, 6)[20..], bytes[20..]);
        }
    }
}

#[test]
fn what_was_sent_passes_in_any_pieces() {
    for sizes in [Sizes::Fixed(0), Sizes::Fixed(64), Sizes::Mix(3000)] {
        let lane = lane(1, sizes);
        let mut bytes: Vec<u8> = (0..70).flat_map(|n| message(&lane, n)).collect();
        bytes.splice(0..0, PING);
        bytes.extend(GOAWAY);
        for verify in [Verify::Full, Verify::Sample] {
            assert_eq!(check(&lane, verify, &bytes), Ok(70));
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_is_noticed() {
    let lane = lane(1, Sizes::Fixed(40));
    let good: Vec<u8> = (0..3).flat_map(|n| message(&lane, n)).collect();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(check(&lane, Verify::Full, &bad).is_err(), "byte {at}");
    }
}

#[test]
fn dropped_swapped_repeated_and_strange_messages_are_noticed() {
    let ours = lane(1, Sizes::Fixed(40));
    let all =
        |order: &[u32]| -> Vec<u8> { order.iter().flat_map(|n| message(&ours, *n)).collect() };
    for order in [&[0, 2][..], &[0, 2, 1], &[0, 1, 1], &[1]] {
        for verify in [Verify::Full, Verify::Sample] {
            let error = check(&ours, verify, &all(order)).unwrap_err();
            assert!(matches!(error, Corruption::Message { .. }), "{error}");
        }
    }
    let error = check(&ours, Verify::Full, &all(&[0, 2])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("expected message 1 of 40 B"), "{text}");
    assert!(text.contains("message 2 of lane 1"), "{text}");
    let other = lane(2, Sizes::Fixed(40));
    assert!(check(&ours, Verify::Sample, &message(&other, 0)).is_err());
    let longer = lane(1, Sizes::Fixed(41));
    assert!(check(&ours, Verify::Sample, &message(&longer, 0)).is_err());
}

#[test]
fn a_cut_and_a_message_after_the_end_are_noticed() {
    let lane = lane(9, Sizes::Fixed(40));
    let bytes = message(&lane, 0);
    for end in 1..bytes.len() {
        let error = check(&lane, Verify::Full, &bytes[..end]).unwrap_err();
        assert!(matches!(error, Corruption::Cut { sequence: 0, .. }));
    }
    let after = [&GOAWAY[..], &bytes].concat();
    let error = check(&lane, Verify::Full, &after).unwrap_err();
    assert_eq!(error, Corruption::AfterEnd { lane: 9 });
}

#[test]
fn a_sample_sees_what_it_looks_at() {
    let lane = lane(1, Sizes::Fixed(40));
    let mut bytes: Vec<u8> = (0..65).flat_map(|n| message(&lane, n)).collect();
    let length = bytes.len() / 65;
    bytes[length + 30] ^= 1;
    assert_eq!(check(&lane, Verify::Sample, &bytes), Ok(65));
    bytes[64 * length + 30] ^= 1;
    assert!(check(&lane, Verify::Sample, &bytes).is_err());
}
