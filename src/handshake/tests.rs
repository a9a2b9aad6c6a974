//! Who gets through the handshake, with what, and who is refused for which reason.

use std::sync::Arc;
use std::time::Duration;

use super::acceptor::Challenging;
use super::dialer::Proving;
use super::fields::MESSAGE_BYTES_MAX;
use super::*;
use crate::config::{ClusterKey, Config};

mod hostile;
mod vectors;

/// A handshake to be run: the two nodes, and what they are up to.
struct Scene {
    dialer: Local,
    acceptor: Local,
    dial: Dial,
    acceptor_exporter: [u8; 32],
    acceptor_counts: Option<Counts>,
    refusal: Option<(Refusal, String)>,
}

/// The parts of a handshake, in the order in which they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Preface,
    Hello,
    Challenge,
    Proof,
    Ready,
}

const PARTS: [Part; 5] = [Part::Preface, Part::Hello, Part::Challenge, Part::Proof, Part::Ready];

/// How each side ended; `None` if the other closed without a word.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    dialer: Option<Result<Established, HandshakeError>>,
    acceptor: Option<Result<Established, HandshakeError>>,
}

const DIALER: LogicalAddr = LogicalAddr::new(1, 2, 3);
const ACCEPTOR: LogicalAddr = LogicalAddr::new(1, 7, 42);
const DIALER_NONCE: [u8; 32] = [0xd1; 32];
const ACCEPTOR_NONCE: [u8; 32] = [0xac; 32];

fn key(id: &str, first: u8) -> ClusterKey {
    let secret: Vec<u8> = (first..).take(32).collect();
    ClusterKey::new(id, secret).unwrap()
}

fn dialer_with(keys: &[ClusterKey]) -> Local {
    let config = Config {
        deployment: "blue".to_owned(),
        frame_bytes_max: 2 << 20,
        version_label: "dialer 1.0".to_owned(),
        ..Config::default()
    };
    Local::new(&config, DIALER, Incarnation::from_bits(0x0123_4567_89ab_cdef), 0b1011, keys)
        .unwrap()
}

fn acceptor_with(keys: &[ClusterKey]) -> Local {
    let config = Config {
        deployment: "blue".to_owned(),
        heartbeat: Duration::from_millis(500),
        version_label: "acceptor 1.1".to_owned(),
        ..Config::default()
    };
    Local::new(&config, ACCEPTOR, Incarnation::from_bits(0x1122_3344_5566_7788), 0b0011, keys)
        .unwrap()
}

/// The scene of the vectors; each test changes what it is about.
fn scene() -> Scene {
    scene_with(&[key("2026-11", 0)], &[key("2026-11", 0)])
}

fn scene_with(dialer_keys: &[ClusterKey], acceptor_keys: &[ClusterKey]) -> Scene {
    Scene {
        dialer: dialer_with(dialer_keys),
        acceptor: acceptor_with(acceptor_keys),
        dial: Dial {
            lane: Lane::Message,
            to: ACCEPTOR,
            is_guest: false,
            counts: Some(Counts { session: 0x66, handled: 10, bounced: 2 }),
            exporter: [0; 32],
        },
        acceptor_exporter: [0; 32],
        acceptor_counts: Some(Counts { session: 0x66, handled: 7, bounced: 0 }),
        refusal: None,
    }
}

impl Scene {
    fn start(&self) -> (Dialer, Vec<u8>, Vec<u8>) {
        let (dialer, bytes) =
            Dialer::start(Arc::new(self.dialer.clone()), self.dial.clone(), DIALER_NONCE);
        let (preface, hello) = bytes.split_at(PREFACE_BYTES);
        (dialer, preface.to_vec(), hello.to_vec())
    }

    fn on_preface(&self, preface: &[u8]) -> Result<Acceptor, Rejected> {
        let local = Arc::new(self.acceptor.clone());
        Acceptor::on_preface(local, preface.try_into().unwrap(), self.acceptor_exporter)
    }

    fn run(&self) -> Outcome {
        self.run_through(|_, bytes| bytes)
    }

    /// Runs the handshake; what is sent goes through `wire`. Refusals go unchanged.
    fn run_through(&self, mut wire: impl FnMut(Part, Vec<u8>) -> Vec<u8>) -> Outcome {
        let (dialer, preface, hello) = self.start();
        let preface = wire(Part::Preface, preface);
        let hello = wire(Part::Hello, hello);
        let greeted = self
            .on_preface(&preface)
            .and_then(|acceptor| acceptor.on_hello(&hello, ACCEPTOR_NONCE));
        let (acceptor, challenge) = match greeted {
            Ok(greeted) => greeted,
            Err(rejected) => {
                return Outcome {
                    dialer: rejected.reply.map(|reply| {
                        dialer.on_challenge(&reply).map(|_| unreachable!("a refusal"))
                    }),
                    acceptor: Some(Err(rejected.error)),
                };
            }
        };
        let (dialer, proof) = match dialer.on_challenge(&wire(Part::Challenge, challenge)) {
            Ok(proving) => proving,
            Err(error) => return Outcome { dialer: Some(Err(error)), acceptor: None },
        };
        let claim = match acceptor.on_proof(&wire(Part::Proof, proof)) {
            Ok(claim) => claim,
            Err(rejected) => {
                return Outcome {
                    dialer: rejected.reply.map(|reply| dialer.on_ready(&reply)),
                    acceptor: Some(Err(rejected.error)),
                };
            }
        };
        if let Some((refusal, text)) = &self.refusal {
            let reply = wire(Part::Ready, claim.refuse(*refusal, text));
            return Outcome { dialer: Some(dialer.on_ready(&reply)), acceptor: None };
        }
        let (ready, established) = claim.accept(0x77, self.acceptor_counts);
        Outcome {
            dialer: Some(dialer.on_ready(&wire(Part::Ready, ready))),
            acceptor: Some(Ok(established)),
        }
    }

    /// The reason that an authenticated refusal gives the dialer.
    fn refused(&self) -> (Refusal, String) {
        match self.run().dialer {
            Some(Err(HandshakeError::Refused { refusal, text, .. })) => (refusal, text),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn both_sides_learn_the_same_session_and_what_the_other_said() {
    let outcome = scene().run();

    let dialer = outcome.dialer.unwrap().unwrap();
    assert_eq!(
        dialer,
        Established {
            peer: Peer {
                addr: ACCEPTOR,
                incarnation: Incarnation::from_bits(0x1122_3344_5566_7788),
                heartbeat_ms: 500,
                version_label: "acceptor 1.1".to_owned(),
                counts: Some(Counts { session: 0x66, handled: 7, bounced: 0 }),
            },
            lane: Lane::Message,
            version: 1,
            features: 0b0011,
            frame_bytes_max: 1 << 20,
            session: 0x77,
        }
    );
    let acceptor = outcome.acceptor.unwrap().unwrap();
    assert_eq!(
        acceptor.peer,
        Peer {
            addr: DIALER,
            incarnation: Incarnation::from_bits(0x0123_4567_89ab_cdef),
            heartbeat_ms: 1000,
            version_label: "dialer 1.0".to_owned(),
            counts: Some(Counts { session: 0x66, handled: 10, bounced: 2 }),
        }
    );
    assert_eq!(Established { peer: dialer.peer.clone(), ..acceptor }, dialer);
}

#[test]
fn every_lane_and_no_last_session_come_through() {
    for lane in [Lane::Rpc, Lane::Message, Lane::Stream] {
        let mut scene = scene();
        scene.dial.lane = lane;
        scene.dial.counts = None;
        scene.acceptor_counts = None;

        let outcome = scene.run();

        for established in [outcome.dialer, outcome.acceptor] {
            let established = established.unwrap().unwrap();
            assert_eq!(established.lane, lane);
            assert_eq!(established.peer.counts, None);
        }
    }
}

#[test]
fn the_frame_limit_is_the_lower_one_whoever_has_it() {
    for (ours, theirs) in [(1 << 10, 64 << 20), (64 << 20, 1 << 10), (4096, 4096)] {
        let mut scene = scene();
        scene.dialer.frame_bytes_max = ours;
        scene.acceptor.frame_bytes_max = theirs;

        let outcome = scene.run();

        assert_eq!(outcome.dialer.unwrap().unwrap().frame_bytes_max, ours.min(theirs));
        assert_eq!(outcome.acceptor.unwrap().unwrap().frame_bytes_max, ours.min(theirs));
    }
}

#[test]
fn nodes_without_keys_agree() {
    let outcome = scene_with(&[], &[]).run();

    assert!(matches!(outcome.dialer, Some(Ok(_))));
    assert!(matches!(outcome.acceptor, Some(Ok(_))));
}

#[test]
fn a_wrong_secret_under_the_right_label_is_told_to_both_sides() {
    let outcome = scene_with(&[key("2026-11", 0)], &[key("2026-11", 1)]).run();

    assert_eq!(outcome.acceptor, Some(Err(HandshakeError::WrongProof)));
    let refusal = Refusal::Authentication;
    assert_eq!(outcome.dialer, Some(Err(HandshakeError::TurnedAway { refusal })));
}

#[test]
fn a_node_with_a_key_and_one_without_refuse_each_other_either_way() {
    let keys = [key("2026-11", 0)];
    for scene in [scene_with(&keys, &[]), scene_with(&[], &keys), scene_with(&keys, &[key("x", 0)])]
    {
        let outcome = scene.run();

        assert_eq!(outcome.acceptor, Some(Err(HandshakeError::NoCommonKey)));
        let refusal = Refusal::Authentication;
        assert_eq!(outcome.dialer, Some(Err(HandshakeError::TurnedAway { refusal })));
    }
}

#[test]
fn keys_in_another_order_agree_on_the_dialers_first() {
    let (old, new) = (key("old", 0), key("new", 50));
    for (dialer, acceptor, chosen) in [
        (vec![old.clone(), new.clone()], vec![new.clone(), old.clone()], "old"),
        (vec![new.clone(), old.clone()], vec![old.clone(), new.clone()], "new"),
        (vec![new.clone(), old.clone()], vec![old.clone()], "old"),
        (vec![new.clone()], vec![old, new], "new"),
    ] {
        let mut seen = String::new();
        let outcome = scene_with(&dialer, &acceptor).run_through(|part, bytes| {
            if part == Part::Challenge {
                let fields = fields::Fields::parse(&bytes).unwrap();
                seen = message::Challenge::decode(&fields).unwrap().key_id;
            }
            bytes
        });

        assert!(matches!((outcome.dialer, outcome.acceptor), (Some(Ok(_)), Some(Ok(_)))));
        assert_eq!(seen, chosen);
    }
}

#[test]
fn the_highest_common_version_is_chosen_or_none() {
    let versions = |lowest, highest| Versions { lowest, highest };
    for (ours, theirs, chosen) in [
        (versions(1, 1), versions(1, 1), Some(1)),
        (versions(1, 3), versions(2, 5), Some(3)),
        (versions(2, 5), versions(1, 3), Some(3)),
        (versions(1, 5), versions(2, 3), Some(3)),
        (versions(1, 2), versions(3, 4), None),
        (versions(3, 4), versions(1, 2), None),
        (versions(255, 255), versions(1, 255), Some(255)),
    ] {
        let mut scene = scene();
        scene.dialer.versions = ours;
        scene.acceptor.versions = theirs;

        let outcome = scene.run();

        match chosen {
            Some(version) => {
                assert_eq!(outcome.dialer.unwrap().unwrap().version, version);
                assert_eq!(outcome.acceptor.unwrap().unwrap().version, version);
            }
            None => {
                let refusal = Refusal::Version(theirs);
                assert_eq!(outcome.dialer, Some(Err(HandshakeError::TurnedAway { refusal })));
                let error = HandshakeError::NoCommonVersion { ours: theirs, theirs: ours };
                assert_eq!(outcome.acceptor, Some(Err(error)));
            }
        }
    }
}

#[test]
fn what_is_wrong_on_its_face_is_refused_with_proof() {
    let mut other_deployment = scene();
    other_deployment.acceptor.deployment = "green".to_owned();
    let mut stale = scene();
    stale.dial.to = LogicalAddr::new(1, 7, 43);
    let mut itself = scene();
    itself.dialer.addr = ACCEPTOR;
    let mut guest = scene();
    guest.dial.is_guest = true;

    for (scene, expected) in [
        (&other_deployment, Refusal::Deployment),
        (&stale, Refusal::WrongAddress),
        (&itself, Refusal::OwnAddress),
        (&guest, Refusal::Guest),
    ] {
        let (refusal, text) = scene.refused();
        assert_eq!(refusal, expected);
        assert_ne!(text, "");
        let peer = scene.dialer.addr;
        let error = HandshakeError::Refusing { peer, refusal };
        assert_eq!(scene.run().acceptor, Some(Err(error)));
    }
}

#[test]
fn an_unknown_lane_is_refused_with_proof() {
    for number in 3..=255 {
        let (local, key) = (acceptor_with(&[]), proof::AuthKey::none());
        let preface = message::write_preface(Versions::OURS);
        let mut hello = scene_with(&[], &[]).start().2;
        let lane = hello.iter().position(|byte| *byte == 3).unwrap();
        assert_eq!(hello[lane..lane + 4], [3, 0, 1, 1]);
        hello[lane + 3] = number;
        let acceptor = Acceptor::on_preface(Arc::new(local), preface, [0; 32]).unwrap();
        let (acceptor, challenge) = acceptor.on_hello(&hello, ACCEPTOR_NONCE).unwrap();
        let mut transcript = proof::Transcript::new([0; 32]);
        transcript.absorb(&[&preface[..], &hello, &challenge].concat());
        let proof = fields::Writer::new(fields::Kind::Proof).seal(
            &mut transcript,
            &key,
            proof::Role::Dialer,
        );

        let rejected = acceptor.on_proof(&proof).unwrap_err();

        let error = HandshakeError::Refusing { peer: DIALER, refusal: Refusal::Lane };
        assert_eq!(rejected.error, error);
    }
}

#[test]
fn every_refusal_of_the_caller_arrives_with_proof_and_what_it_carries() {
    let newer = Incarnation::from_bits(u64::MAX);
    for refusal in [
        Refusal::TooManyConnections,
        Refusal::UnknownMember,
        Refusal::OlderIncarnation(newer),
        Refusal::Draining,
        Refusal::Duplicate,
        Refusal::Other(0),
        Refusal::Other(200),
    ] {
        let mut scene = scene();
        scene.refusal = Some((refusal, "because".to_owned()));

        assert_eq!(
            scene.run().dialer,
            Some(Err(HandshakeError::Refused {
                refusal,
                text: "because".to_owned(),
                incarnation: scene.acceptor.incarnation,
            }))
        );
        assert!(refusal.to_string().len() > 20, "says what to do: {refusal}");
    }
}

#[test]
fn the_text_of_a_refusal_is_shortened_and_cleaned_instead_of_refused_by_the_dialer() {
    let mut scene = scene();
    scene.refusal = Some((Refusal::Draining, "two\nlines\u{85}".to_owned()));
    assert_eq!(scene.refused().1, "two lines ");

    // 256 bytes would end within the character that takes three.
    scene.refusal = Some((Refusal::Draining, "x".repeat(255) + "€"));
    assert_eq!(scene.refused().1, "x".repeat(255));
}

#[test]
fn a_full_acceptor_is_believed_for_nothing_but_try_again() {
    let (dialer, ..) = scene().start();

    let error = dialer.on_challenge(&too_many_connections()).unwrap_err();

    assert_eq!(error, HandshakeError::TurnedAway { refusal: Refusal::TooManyConnections });
}

#[test]
fn a_config_that_peers_would_not_understand_is_told_before_anything_is_sent() {
    let try_new = |change: fn(&mut Config), keys: &[ClusterKey]| {
        let mut config = Config::default();
        change(&mut config);
        Local::new(&config, DIALER, Incarnation::from_bits(1), 0, keys).map(|_| ())
    };

    assert_eq!(try_new(|_| (), &[]), Ok(()));
    assert_eq!(try_new(|c| c.deployment.clear(), &[]), Err(LocalError::Deployment(String::new())));
    assert_eq!(try_new(|c| c.deployment = "x".repeat(64), &[]), Ok(()));
    let long = "x".repeat(65);
    let is_long = |c: &mut Config| c.deployment = "x".repeat(65);
    assert_eq!(try_new(is_long, &[]), Err(LocalError::Deployment(long.clone())));
    let two_lines = LocalError::Deployment("a\nb".to_owned());
    assert_eq!(try_new(|c| c.deployment = "a\nb".to_owned(), &[]), Err(two_lines));
    let is_long = |c: &mut Config| c.version_label = "x".repeat(65);
    assert_eq!(try_new(is_long, &[]), Err(LocalError::VersionLabel(long)));
    assert_eq!(try_new(|c| c.frame_bytes_max = 1023, &[]), Err(LocalError::FrameBytesMax(1023)));
    assert_eq!(try_new(|c| c.frame_bytes_max = 1024, &[]), Ok(()));
    assert_eq!(try_new(|c| c.frame_bytes_max = 64 << 20, &[]), Ok(()));
    let too_large = |c: &mut Config| c.frame_bytes_max = (64 << 20) + 1;
    assert_eq!(try_new(too_large, &[]), Err(LocalError::FrameBytesMax((64 << 20) + 1)));
    let too_fast = |c: &mut Config| c.heartbeat = Duration::from_millis(99);
    let heartbeat = |ms| Err(LocalError::Heartbeat(Duration::from_millis(ms)));
    assert_eq!(try_new(too_fast, &[]), heartbeat(99));
    let too_slow = |c: &mut Config| c.heartbeat = Duration::from_millis(60_001);
    assert_eq!(try_new(too_slow, &[]), heartbeat(60_001));
    let keys: Vec<_> = (0..9).map(|n| key(&n.to_string(), n)).collect();
    assert_eq!(try_new(|_| (), &keys[..8]), Ok(()));
    assert_eq!(try_new(|_| (), &keys), Err(LocalError::Keys(9)));
    let twice = [key("a", 1), key("a", 2)];
    assert_eq!(try_new(|_| (), &twice), Err(LocalError::KeyId("a".to_owned())));
}

#[test]
fn the_largest_hello_fits_a_message() {
    let label = |n: u8| char::from(b'a' + n).to_string().repeat(32);
    let keys: Vec<_> = (0..8).map(|n| key(&label(n), n)).collect();
    let mut scene = scene_with(&keys, &keys);
    for local in [&mut scene.dialer, &mut scene.acceptor] {
        local.deployment = "x".repeat(64);
        local.version_label = "y".repeat(64);
    }

    assert!(scene.start().2.len() <= MESSAGE_BYTES_MAX / 4, "room for what is to come");
    assert!(matches!(scene.run().dialer, Some(Ok(_))));
}

#[test]
fn no_secret_and_no_derived_key_is_printed() {
    let secret = *b"correct horse battery staple 1234";
    let keys = [ClusterKey::new("k", secret).unwrap()];
    let derived = *proof::hkdf(&secret, b"seaway1 auth");
    let scene = scene_with(&keys, &keys);
    let (dialer, preface, hello) = scene.start();
    let acceptor = scene.on_preface(&preface).unwrap();
    let mut printed = format!("{:?} {dialer:?} {acceptor:?}", scene.dialer);
    let (acceptor, challenge) = acceptor.on_hello(&hello, ACCEPTOR_NONCE).unwrap();
    let (dialer, proof) = dialer.on_challenge(&challenge).unwrap();
    printed += &format!("{dialer:?} {acceptor:?}");
    let claim = acceptor.on_proof(&proof).unwrap();
    printed += &format!("{claim:?}");

    for secret in [&secret[..], &derived[..]] {
        let list = format!("{:?}", &secret[..4]);
        assert!(!printed.contains(list.trim_matches(['[', ']'])), "{printed}");
        let hex: String = secret[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!printed.contains(&hex), "{printed}");
    }
    assert!(!printed.contains("correct horse"), "{printed}");
}
