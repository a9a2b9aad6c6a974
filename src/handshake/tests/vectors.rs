//! The bytes of version 1, which never change, against files that a second implementation made.

use std::collections::BTreeSet;

use super::super::fields::{Fields, Kind, Tag, Writer};
use super::super::message::{Challenge, Hello, Ready, Refuse, read_preface, write_preface};
use super::super::proof::{AuthKey, Role, Transcript, hkdf};
use super::*;

const FILE: &str = include_str!("../../../tests/vectors/v1/handshake.hex");

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn vector(name: &str) -> Vec<u8> {
    let line = FILE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    hex(line.unwrap_or_else(|| panic!("no vector {name}")))
}

/// Without keys, on the rpc lane, without earlier sessions.
fn open_scene() -> Scene {
    let mut scene = scene_with(&[], &[]);
    scene.dial.lane = Lane::Rpc;
    scene.dial.counts = None;
    scene.acceptor_counts = None;
    scene
}

#[test]
fn every_message_is_what_the_vectors_say() {
    for (prefix, scene) in [("", scene()), ("open_", open_scene())] {
        scene.run_through(|part, bytes| {
            let name = match part {
                Part::Preface => "preface".to_owned(),
                Part::Hello => format!("{prefix}hello"),
                Part::Challenge => format!("{prefix}challenge"),
                Part::Proof => format!("{prefix}proof"),
                Part::Ready => format!("{prefix}ready"),
            };
            assert_eq!(bytes, vector(&name), "{name}");
            bytes
        });
    }
}

#[test]
fn each_side_alone_understands_the_vectors() {
    for (prefix, scene) in [("", scene()), ("open_", open_scene())] {
        let vector = |name| vector(&format!("{prefix}{name}"));

        let (dialing, _) = scene.start().0.on_challenge(&vector("challenge")).unwrap();
        let established = dialing.on_ready(&vector("ready")).unwrap();
        assert_eq!((established.peer.addr, established.session), (ACCEPTOR, 0x77));

        let acceptor = scene.on_preface(&vectors::vector("preface")).unwrap();
        let (acceptor, _) = acceptor.on_hello(&vector("hello"), ACCEPTOR_NONCE).unwrap();
        let claim = acceptor.on_proof(&vector("proof")).unwrap();
        assert_eq!((claim.peer.addr, claim.peer.counts), (DIALER, scene.dial.counts));
    }
}

#[test]
fn messages_decode_and_encode_to_the_same_bytes() {
    let preface = vector("preface").try_into().unwrap();
    assert_eq!(write_preface(read_preface(preface).unwrap()), preface);
    for name in ["hello", "open_hello"] {
        let bytes = vector(name);
        assert_eq!(Hello::decode(&Fields::parse(&bytes).unwrap()).unwrap().encode(), bytes);
    }
    for name in ["challenge", "open_challenge"] {
        let bytes = vector(name);
        assert_eq!(Challenge::decode(&Fields::parse(&bytes).unwrap()).unwrap().encode(), bytes);
    }

    let key = AuthKey::derive("2026-11", &(0..32).collect::<Vec<u8>>());
    let mut transcript = Transcript::new([0; 32]);
    for name in ["preface", "hello", "challenge"] {
        transcript.absorb(&vector(name));
    }
    let proof = Writer::new(Kind::Proof).seal(&mut transcript, &key, Role::Dialer);
    assert_eq!(proof, vector("proof"));
    let bytes = vector("ready");
    let ready = Ready::decode(&Fields::parse(&bytes).unwrap()).unwrap();
    assert_eq!(ready.encode(&mut transcript.clone(), &key), bytes);
    let names = FILE.lines().filter_map(|line| Some(line.split_once(": ")?.0));
    for name in names.filter(|name| name.starts_with("refuse_")) {
        let bytes = vector(name);
        let refuse = Refuse::decode(&Fields::parse(&bytes).unwrap()).unwrap();
        assert_eq!(refuse.encode(&mut transcript.clone(), &key), bytes);
    }
}

#[test]
fn refusals_are_what_the_vectors_say() {
    let newer = Incarnation::from_bits(0x0123_4567_89ab_cdf0);
    for (name, refusal, text) in [
        ("refuse_draining", Refusal::Draining, "rolling restart"),
        ("refuse_older", Refusal::OlderIncarnation(newer), ""),
        ("refuse_wrong_address", Refusal::WrongAddress, ""),
        ("refuse_unknown_member", Refusal::UnknownMember, ""),
        ("refuse_duplicate", Refusal::Duplicate, ""),
        ("refuse_deployment", Refusal::Deployment, ""),
        ("refuse_guest", Refusal::Guest, ""),
        ("refuse_lane", Refusal::Lane, ""),
        ("refuse_own_address", Refusal::OwnAddress, ""),
    ] {
        let mut scene = scene();
        scene.refusal = Some((refusal, text.to_owned()));
        scene.run_through(|part, bytes| {
            if part == Part::Ready {
                assert_eq!(bytes, vector(name), "{name}");
            }
            bytes
        });
    }
    for (name, refusal) in [
        ("turned_away_version", Refusal::Version(Versions::OURS)),
        ("turned_away_too_many", Refusal::TooManyConnections),
        ("turned_away_authentication", Refusal::Authentication),
    ] {
        assert_eq!(Refuse::unproven(refusal), vector(name), "{name}");
        let error = scene().start().0.on_challenge(&vector(name)).unwrap_err();
        assert_eq!(error, HandshakeError::TurnedAway { refusal });
    }
}

#[test]
fn keys_and_digests_are_derived_as_the_vectors_say() {
    // RFC 5869, test case 3: without salt and info, the first 32 bytes.
    let okm = hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
    assert_eq!(hkdf(&[0x0b; 22], b"").to_vec(), okm);

    let secret: Vec<u8> = (0..32).collect();
    for (prefix, secret) in [("", &secret[..]), ("open_", b"")] {
        let vector = |name| vector(&format!("{prefix}{name}"));
        assert_eq!(hkdf(secret, b"seaway1 auth").to_vec(), vector("key"));

        let mut transcript = Transcript::new([0; 32]);
        transcript.absorb(&vectors::vector("preface"));
        transcript.absorb(&vector("hello"));
        transcript.absorb(&vector("challenge"));
        transcript.absorb(&vector("proof")[..3]);
        assert_eq!(transcript.digest().to_vec(), vector("digest"));
    }
}

#[test]
fn each_kind_of_message_each_field_and_each_reason_to_refuse_has_a_vector() {
    let (mut kinds, mut tags, mut reasons) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in FILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, _) = line.split_once(": ").unwrap();
        if ["preface", "key", "digest"].contains(&name.trim_start_matches("open_")) {
            continue;
        }
        // Length, kind, and fields of tag, length and value.
        let message = vector(name);
        kinds.insert(message[2]);
        let mut fields = &message[3..];
        while let [tag, high, low, rest @ ..] = fields {
            tags.insert(*tag);
            if *tag == Tag::Reason as u8 {
                reasons.insert(rest[0]);
            }
            fields = &rest[usize::from(u16::from_be_bytes([*high, *low]))..];
        }
    }
    assert!(kinds.into_iter().eq(1..=5));
    assert!(tags.into_iter().eq(1..=21));
    assert!(reasons.into_iter().eq(1..=12));
}
