//! What somebody on the path, or at the other end, may try.

use proptest::prelude::*;

use super::super::fields::{Fields, Kind, Tag, Writer};
use super::super::message::{Challenge, Hello, Ready};
use super::super::proof::{AuthKey, Role, Transcript};
use super::*;

/// Runs the handshake with one part changed; asserts that the change has done no more than end it.
fn assert_noticed(scene: &Scene, changed: Part, what: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let outcome =
        scene.run_through(|part, bytes| if part == changed { change(bytes) } else { bytes });
    let told = &outcome.dialer;
    assert!(!matches!(told, Some(Ok(_))), "{changed:?} {what}: dialer");
    let is_refused = matches!(told, Some(Err(HandshakeError::Refused { .. })));
    assert!(!is_refused, "{changed:?} {what}: a refusal seems proven");
    if changed != Part::Ready {
        assert!(!matches!(outcome.acceptor, Some(Ok(_))), "{changed:?} {what}: acceptor");
    }
}

/// The length of each part of a scene.
fn lengths(scene: &Scene) -> Vec<(Part, usize)> {
    let mut lengths = Vec::new();
    scene.run_through(|part, bytes| {
        lengths.push((part, bytes.len()));
        bytes
    });
    assert_eq!(lengths.iter().map(|(part, _)| *part).collect::<Vec<_>>(), PARTS);
    lengths
}

#[test]
fn no_bit_can_be_changed_in_anything() {
    let mut refusing = scene();
    refusing.refusal =
        Some((Refusal::OlderIncarnation(Incarnation::from_bits(9)), "text".to_owned()));
    for scene in [scene(), scene_with(&[], &[]), refusing] {
        for (part, len) in lengths(&scene) {
            for (at, bit) in (0..len).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                assert_noticed(&scene, part, &format!("byte {at} bit {bit}"), |mut bytes| {
                    bytes[at] ^= 1 << bit;
                    bytes
                });
            }
        }
    }
}

/// Gives a message that was cut or grown the length that it has.
fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = u16::try_from(bytes.len() - 2).unwrap();
    bytes[..2].copy_from_slice(&body.to_be_bytes());
    bytes
}

#[test]
fn nothing_can_be_cut_off_or_added() {
    let scene = scene();
    for (part, len) in lengths(&scene).into_iter().skip(1) {
        for kept in 0..len {
            assert_noticed(&scene, part, &format!("cut to {kept}"), |bytes| bytes[..kept].to_vec());
        }
        for kept in 2..len {
            assert_noticed(&scene, part, &format!("repaired, {kept}"), |bytes| {
                with_length(bytes[..kept].to_vec())
            });
        }
        for more in [&[0xee][..], &[0xee, 0, 0], &[0xee, 0, 1, 0]] {
            assert_noticed(&scene, part, "grown", |bytes| [&bytes, more].concat());
            assert_noticed(&scene, part, "grown and repaired", |bytes| {
                with_length([&bytes, more].concat())
            });
        }
    }
}

/// An unknown field put before the others of a message.
fn with_unknown(bytes: &[u8]) -> Vec<u8> {
    with_length([&bytes[..3], &[0xee, 0, 2, 1, 2], &bytes[3..]].concat())
}

/// The same for a message with a proof, which is made anew.
fn resealed(bytes: &[u8], transcript: &mut Transcript, key: &AuthKey, role: Role) -> Vec<u8> {
    let bytes = with_unknown(bytes);
    let (covered, field) = bytes.split_at(bytes.len() - 35);
    transcript.absorb(covered);
    let sealed = [covered, &field[..3], &transcript.proof(key, role)[..]].concat();
    transcript.absorb(&sealed[covered.len()..]);
    sealed
}

#[test]
fn unknown_fields_are_skipped_by_both_sides() {
    let scene = scene();
    let key = AuthKey::derive("2026-11", &(0..32).collect::<Vec<u8>>());

    // A dialer of a later version.
    let (_, preface, hello) = scene.start();
    let hello = with_unknown(&hello);
    let acceptor = scene.on_preface(&preface).unwrap();
    let (acceptor, challenge) = acceptor.on_hello(&hello, ACCEPTOR_NONCE).unwrap();
    let mut transcript = Transcript::new([0; 32]);
    transcript.absorb(&[&preface[..], &hello, &challenge].concat());
    let bare = Writer::new(Kind::Proof).field(Tag::Proof, &[0; 32]).finish();
    let proof = resealed(&bare, &mut transcript, &key, Role::Dialer);
    assert_eq!(acceptor.on_proof(&proof).unwrap().peer.addr, DIALER);

    // An acceptor of a later version.
    let (dialer, preface, hello) = scene.start();
    let challenge = Challenge { version: 1, nonce: ACCEPTOR_NONCE, key_id: "2026-11".to_owned() };
    let challenge = with_unknown(&challenge.encode());
    let (dialer, proof) = dialer.on_challenge(&challenge).unwrap();
    let mut transcript = Transcript::new([0; 32]);
    transcript.absorb(&[&preface[..], &hello, &challenge, &proof].concat());
    let ready = Ready {
        peer: Peer::of(&scene.acceptor, None),
        features: 0,
        frame_bytes_max: 1024,
        session: 1,
    };
    let ready = ready.encode(&mut transcript.clone(), &key);
    let ready = resealed(&ready, &mut transcript, &key, Role::Acceptor);
    assert_eq!(dialer.on_ready(&ready).unwrap().session, 1);
}

#[test]
fn unknown_fields_are_covered_by_the_proofs() {
    for part in PARTS.into_iter().skip(1) {
        assert_noticed(&scene(), part, "unknown field", |bytes| with_unknown(&bytes));
    }
}

#[test]
fn a_field_twice_or_behind_the_proof_is_an_error() {
    let hello = scene().start().2;
    let twice = with_length([&hello[..], &[Tag::Lane as u8, 0, 1, 1]].concat());
    assert_eq!(Fields::parse(&twice).unwrap_err(), HandshakeError::Twice(Tag::Lane));

    let sealed = Writer::new(Kind::Proof).field(Tag::Proof, &[0; 32]).field(Tag::Text, b"");
    let error = Fields::parse(&sealed.finish()).unwrap_err();
    assert_eq!(error, HandshakeError::Malformed("a field follows the proof"));
}

/// Takes HELLO apart and leaves out, or replaces, one field.
fn hello_with(replaced: Tag, value: Option<&[u8]>) -> Vec<u8> {
    let hello = scene().start().2;
    let mut writer = Writer::new(Kind::Hello);
    for tag in (1..=255).map_while(Tag::from_number) {
        let value = match Fields::parse(&hello).unwrap().bytes(tag) {
            _ if tag == replaced => value.map(<[u8]>::to_vec),
            found => found.ok().map(<[u8]>::to_vec),
        };
        if let Some(value) = value {
            writer = writer.field(tag, &value);
        }
    }
    writer.finish()
}

fn hello_error(bytes: &[u8]) -> Option<HandshakeError> {
    Hello::decode(&Fields::parse(bytes).unwrap()).err()
}

#[test]
fn every_field_of_hello_but_the_counts_is_required() {
    for tag in (2..=13).map_while(Tag::from_number) {
        let missing = Some(HandshakeError::Missing(tag));
        assert_eq!(hello_error(&hello_with(tag, None)), missing, "{tag}");
    }
    assert_eq!(hello_error(&hello_with(Tag::Counts, None)), None);
}

#[test]
fn values_out_of_their_limits_are_errors() {
    let ids = |count: u8, len: u8| {
        let id = vec![b'k'; usize::from(len)];
        (0..count).flat_map(|_| [&[len], &id[..]].concat()).collect::<Vec<u8>>()
    };
    for (tag, good, bad) in [
        (Tag::Deployment, vec![b'x'; 64], vec![b'x'; 65]),
        (Tag::Deployment, vec![b'x'], vec![]),
        (Tag::Deployment, vec![b'x'], vec![0xff]),
        (Tag::Deployment, vec![b'x'], b"x\n".to_vec()),
        (Tag::VersionLabel, vec![b'x'; 64], vec![b'x'; 65]),
        (Tag::VersionLabel, vec![], b"\x1b[2J".to_vec()),
        (Tag::FrameBytesMax, vec![0, 0, 4, 0], vec![0, 0, 3, 255]),
        (Tag::FrameBytesMax, vec![4, 0, 0, 0], vec![4, 0, 0, 1]),
        (Tag::HeartbeatMs, vec![0, 0, 0, 100], vec![0, 0, 0, 99]),
        (Tag::HeartbeatMs, vec![0, 0, 0xea, 0x60], vec![0, 0, 0xea, 0x61]),
        (Tag::KeyIds, ids(8, 32), ids(9, 1)),
        (Tag::KeyIds, ids(1, 1), ids(1, 0)),
        (Tag::KeyIds, ids(0, 0), ids(1, 33)),
        (Tag::KeyIds, ids(2, 4), vec![2, b'k']),
        (Tag::Counts, [[0; 7].to_vec(), vec![1], vec![0; 16]].concat(), vec![0; 24]),
        (Tag::Addr, vec![0, 0x10, 0x10, 0], vec![0, 0, 0x10, 0]),
        (Tag::Meant, vec![0, 0x1f, 0xf0, 0], vec![0, 0x10, 0, 0]),
        (Tag::Flags, vec![0xfe], vec![]),
        (Tag::Lane, vec![255], vec![0, 0]),
        (Tag::Nonce, vec![0; 32], vec![0; 31]),
        (Tag::Incarnation, vec![0; 8], vec![0; 9]),
        (Tag::Features, vec![0xff; 8], vec![0xff; 7]),
    ] {
        assert_eq!(hello_error(&hello_with(tag, Some(&good))), None, "{tag} {good:?}");
        let invalid = Some(HandshakeError::Invalid(tag));
        assert_eq!(hello_error(&hello_with(tag, Some(&bad))), invalid, "{tag} {bad:?}");
    }
}

#[test]
fn only_the_first_flag_makes_a_guest() {
    for (flags, is_guest) in [(0, false), (0xfe, false), (1, true), (0xff, true)] {
        let bytes = hello_with(Tag::Flags, Some(&[flags]));
        let hello = Hello::decode(&Fields::parse(&bytes).unwrap()).unwrap();
        assert_eq!(hello.is_guest, is_guest, "{flags:#x}");
    }
}

#[test]
fn a_length_is_judged_before_the_message_has_come() {
    assert_eq!(message_len(&[]), Ok(None));
    assert_eq!(message_len(&[0x0f]), Ok(None));
    assert_eq!(message_len(&[0x0f, 0xfe]), Ok(Some(4096)));
    assert_eq!(message_len(&[0x0f, 0xff]), Err(HandshakeError::TooLong(4097)));
    assert_eq!(message_len(&[0xff, 0xff, 1, 2]), Err(HandshakeError::TooLong(65537)));
    assert_eq!(message_len(&[0, 1]), Ok(Some(3)));
    assert!(message_len(&[0, 0]).is_err());
}

#[test]
fn what_is_no_handshake_is_closed_without_a_word() {
    for preface in
        [*b"GET / HT", [0x16, 3, 1, 2, 0, 1, 0, 1], *b"SEAW\0\x01\0\0", *b"SEAW\x02\x01\0\0"]
    {
        let rejected = scene().on_preface(&preface).unwrap_err();
        assert_eq!(rejected.reply, None);
    }
    let acceptor = scene().on_preface(&scene().start().1).unwrap();
    let rejected = acceptor.on_hello(&[0, 1, 1], ACCEPTOR_NONCE).unwrap_err();
    assert_eq!(rejected.reply, None);
}

/// A run between the same nodes up to the PROOF, with the acceptor's nonce given.
fn recorded(nonce: [u8; 32]) -> (Proving, Vec<u8>, Challenging) {
    let scene = scene();
    let (dialer, preface, hello) = scene.start();
    let (acceptor, challenge) =
        scene.on_preface(&preface).unwrap().on_hello(&hello, nonce).unwrap();
    let (dialer, proof) = dialer.on_challenge(&challenge).unwrap();
    (dialer, proof, acceptor)
}

#[test]
fn a_proof_serves_once() {
    let (_, old_proof, first) = recorded([1; 32]);
    let (second_dialer, _, second) = recorded([2; 32]);
    let (old_ready, _) = first.on_proof(&old_proof).unwrap().accept(1, None);

    let rejected = second.on_proof(&old_proof).unwrap_err();
    assert_eq!(rejected.error, HandshakeError::WrongProof);
    let error = second_dialer.on_ready(&old_ready).unwrap_err();
    assert_eq!(error, HandshakeError::WrongProof);
}

#[test]
fn a_dialers_own_proof_is_not_taken_from_an_acceptor() {
    let (dialer, mut proof, ..) = recorded([1; 32]);
    proof[2] = Kind::Ready as u8;
    assert_eq!(dialer.on_ready(&proof).unwrap_err(), HandshakeError::WrongProof);

    // Even one over the right bytes: what the role labels are for.
    let scene = scene();
    let key = AuthKey::derive("2026-11", &(0..32).collect::<Vec<u8>>());
    for (role, is_taken) in [(Role::Dialer, false), (Role::Acceptor, true)] {
        let (dialer, preface, hello) = scene.start();
        let challenge =
            Challenge { version: 1, nonce: [1; 32], key_id: "2026-11".to_owned() }.encode();
        let (dialer, proof) = dialer.on_challenge(&challenge).unwrap();
        let mut transcript = Transcript::new([0; 32]);
        transcript.absorb(&[&preface[..], &hello, &challenge, &proof].concat());
        let bytes = Ready {
            peer: Peer::of(&scene.acceptor, None),
            features: 0,
            frame_bytes_max: 1024,
            session: 1,
        }
        .encode(&mut transcript.clone(), &key);
        let ready = {
            let (covered, _) = bytes.split_at(bytes.len() - 35);
            transcript.absorb(covered);
            [covered, &bytes[covered.len()..][..3], &transcript.proof(&key, role)[..]].concat()
        };
        assert_eq!(dialer.on_ready(&ready).is_ok(), is_taken);
    }
}

#[test]
fn a_proof_is_bound_to_the_tls_connection() {
    let mut scene = scene();
    scene.dial.exporter = [5; 32];
    assert_eq!(scene.run().acceptor, Some(Err(HandshakeError::WrongProof)));

    scene.acceptor_exporter = [5; 32];
    assert!(matches!(scene.run().dialer, Some(Ok(_))));
}

#[test]
fn a_dialer_takes_no_key_and_no_version_that_it_did_not_offer() {
    let challenge = |version, key_id: &str| {
        Challenge { version, nonce: [0; 32], key_id: key_id.to_owned() }.encode()
    };
    let with_key = |bytes: &[u8]| scene().start().0.on_challenge(bytes).unwrap_err();
    let without = |bytes: &[u8]| scene_with(&[], &[]).start().0.on_challenge(bytes).unwrap_err();

    assert_eq!(with_key(&challenge(1, "")), HandshakeError::NoCommonKey);
    assert_eq!(with_key(&challenge(1, "other")), HandshakeError::NoCommonKey);
    assert_eq!(without(&challenge(1, "2026-11")), HandshakeError::NoCommonKey);
    assert_eq!(with_key(&challenge(0, "2026-11")), HandshakeError::ChosenVersion(0));
    assert_eq!(with_key(&challenge(2, "2026-11")), HandshakeError::ChosenVersion(2));
}

#[test]
fn a_refusal_without_proof_is_never_taken_for_a_proven_one() {
    let older = Refusal::OlderIncarnation(Incarnation::from_bits(u64::MAX));
    let (dialer, ..) = recorded([1; 32]);
    let bytes = older.write(Writer::new(Kind::Refuse)).finish();
    let error = dialer.on_ready(&bytes).unwrap_err();
    assert_eq!(error, HandshakeError::TurnedAway { refusal: older });

    // A proof in answer to HELLO covers no nonce of ours and is worth nothing.
    let key = AuthKey::derive("2026-11", &(0..32).collect::<Vec<u8>>());
    let bytes = older.write(Writer::new(Kind::Refuse)).seal(
        &mut Transcript::new([0; 32]),
        &key,
        Role::Acceptor,
    );
    let error = scene().start().0.on_challenge(&bytes).unwrap_err();
    assert_eq!(error, HandshakeError::TurnedAway { refusal: older });
}

#[test]
fn an_acceptor_that_proved_itself_may_still_not_answer_nonsense() {
    let answer = |change: fn(&mut Ready)| {
        let (dialer, proof, acceptor) = recorded([1; 32]);
        let claim = acceptor.on_proof(&proof).unwrap();
        let mut ready = Ready {
            peer: Peer::of(&claim.local, None),
            features: claim.features,
            frame_bytes_max: claim.frame_bytes_max,
            session: 1,
        };
        change(&mut ready);
        let bytes = ready.encode(&mut claim.transcript.clone(), &claim.key);
        dialer.on_ready(&bytes).map(|_| ())
    };

    assert_eq!(answer(|_| ()), Ok(()));
    assert_eq!(answer(|r| r.peer.addr = DIALER), Err(HandshakeError::Invalid(Tag::Addr)));
    assert_eq!(answer(|r| r.features = 0b100), Err(HandshakeError::Invalid(Tag::Features)));
    let larger = answer(|r| r.frame_bytes_max = (2 << 20) + 1);
    assert_eq!(larger, Err(HandshakeError::Invalid(Tag::FrameBytesMax)));
    assert_eq!(answer(|r| r.session = 0), Err(HandshakeError::Invalid(Tag::Session)));
}

/// Bytes of any kind, and messages that are built right and say anything.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::sample::select(vec![1, 4, 8, 24, 32])
            .prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len)),
    ];
    let fields = proptest::collection::vec((0..25_u8, value), 0..16);
    let message = (0..7_u8, fields).prop_map(|(kind, fields)| {
        let mut bytes = vec![0, 0, kind];
        for (tag, value) in fields {
            bytes.push(tag);
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value);
        }
        with_length(bytes)
    });
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), message]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_bytes_get_anywhere_or_panic_in_any_state(bytes in anything(), preface: [u8; 8]) {
        if let Ok(Some(len)) = message_len(&bytes) {
            prop_assert!(len <= MESSAGE_BYTES_MAX);
        }
        let scene = scene();
        let (dialer, our_preface, hello) = scene.start();
        prop_assert!(scene.on_preface(&preface).is_err());
        let acceptor = || scene.on_preface(&our_preface).unwrap();
        prop_assert!(acceptor().on_hello(&bytes, ACCEPTOR_NONCE).is_err());
        let (acceptor, challenge) = acceptor().on_hello(&hello, ACCEPTOR_NONCE).unwrap();
        prop_assert!(acceptor.on_proof(&bytes).is_err());
        prop_assert!(dialer.on_challenge(&bytes).is_err());
        let (dialer, _) = scene.start().0.on_challenge(&challenge).unwrap();
        prop_assert!(dialer.on_ready(&bytes).is_err());
    }
}
