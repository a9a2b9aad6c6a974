//! The bytes of version 1, which never change, against a file that a second implementation made.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::super::*;
use crate::addr::LogicalAddr;
use crate::incarnation::Incarnation;
use crate::name::{MessageId, Method, fnv1a};

const FILE: &str = include_str!("../../../tests/vectors/v1/frames.hex");
const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

const INCARNATION_A: Incarnation = Incarnation::from_bits(0x0123_4567_89ab_cdef);
const INCARNATION_B: Incarnation = Incarnation::from_bits(0x1122_3344_5566_7788);
const CALL: u64 = 0x0000_0007_0000_0015;
const JOIN: Method<(), ()> = Method::new("chat.Room/Join");
const JOINED: MessageId = MessageId::of("chat.Joined");
const HI: &[u8] = b"\x0a\x02hi";
/// Flags that this version gives no meaning to, and that a receipt is wanted.
const FLAGS_LATER: u8 = 0xfe;

fn addr(text: &str) -> LogicalAddr {
    text.parse().unwrap()
}

/// All vectors by name.
fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = FILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let vectors: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let by_name: BTreeMap<_, _> = vectors.iter().map(|(name, hex)| (*name, bytes(hex))).collect();
    assert_eq!(by_name.len(), vectors.len(), "a name stands twice");
    by_name
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A body as those who read it see it.
#[derive(Debug, PartialEq)]
enum Body {
    Bytes(Vec<u8>),
    Request { method: u64, message: Vec<u8> },
    Reply(ReplyBody),
    Bounce(Bounce),
    Receipt(Receipt),
    Down(Down),
    Pulse(Pulse),
    GoAway(GoAway),
    Open(Open),
    End(End),
}

impl Body {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Request { method, message } => {
                out.extend_from_slice(&method.to_be_bytes());
                out.extend_from_slice(message);
            }
            Self::Reply(ReplyBody::Ok(message)) => {
                out.push(ReplyBody::OK);
                out.extend_from_slice(message);
            }
            Self::Reply(ReplyBody::Error(failure)) => failure.put(out),
            Self::Bounce(bounce) => bounce.put(out),
            Self::Receipt(receipt) => receipt.put(out),
            Self::Down(down) => down.put(out),
            Self::Pulse(pulse) => pulse.put(out),
            Self::GoAway(go_away) => go_away.put(out),
            Self::Open(open) => open.put(out),
            Self::End(end) => end.put(out),
        }
    }

    /// `None` if it is malformed.
    fn read(kind: Kind, body: Bytes) -> Option<Self> {
        Some(match kind {
            Kind::Message | Kind::Cancel | Kind::Optional(_) => Self::Bytes(body.to_vec()),
            Kind::Request => {
                let (method, message) = body.split_first_chunk()?;
                let method = u64::from_be_bytes(*method);
                Self::Request { method, message: message.to_vec() }
            }
            Kind::Reply => Self::Reply(ReplyBody::read(body)?),
            Kind::Bounce => Self::Bounce(Bounce::read(&body)?),
            Kind::Receipt => Self::Receipt(Receipt::read(&body)?),
            Kind::Down => Self::Down(Down::read(&body)?),
            Kind::Ping | Kind::Pong => Self::Pulse(Pulse::read(&body)?),
            Kind::GoAway => Self::GoAway(GoAway::read(&body)?),
            Kind::Open => Self::Open(Open::read(&body)?),
            Kind::End => Self::End(End::read(&body)?),
        })
    }
}

/// A frame with all its parts.
#[derive(Debug, PartialEq)]
struct Whole {
    header: Header,
    extension: Extension,
    body: Body,
}

impl Whole {
    /// From A to B.
    fn new(kind: Kind, id: u64, body: Body) -> Self {
        let header = Header::new(kind, addr("1.2.3"), addr("1.7.42"), id, INCARNATION_A);
        Self { header, extension: Extension::default(), body }
    }

    /// From B to A, about something of A's: with A's incarnation.
    fn answer(kind: Kind, id: u64, body: Body) -> Self {
        let mut whole = Self::new(kind, id, body);
        std::mem::swap(&mut whole.header.from, &mut whole.header.to);
        whole
    }

    fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    fn extended(mut self, pairs: &[(&str, &str)], trace: Option<TraceContext>) -> Self {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.extension = Extension { metadata: pairs.iter().map(owned).collect(), trace };
        self
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = Vec::new();
        let extension = self.extension.put(&mut rest);
        self.body.put(&mut rest);
        self.header.put(&mut out, extension, rest.len() - extension);
        out.extend_from_slice(&rest);
        out
    }

    /// Reads exactly one frame.
    fn decode(bytes: &[u8]) -> Self {
        let mut buffer = BytesMut::from(bytes);
        let Frame { header, extension, body } = decode(&mut buffer, LIMITS).unwrap().unwrap();
        assert!(buffer.is_empty(), "the frame is longer than it says");
        let extension = Extension::read(&extension).unwrap();
        Self { header, extension, body: Body::read(header.kind, body).unwrap() }
    }
}

/// What a vector is to be read as.
#[derive(Debug)]
enum Expected {
    /// This, and written as the vector.
    Both(Whole),
    /// This; no node of this version writes it so.
    Read(Whole),
    /// The lane closes.
    Broken(FrameError),
    /// The frame is refused because of the extension field with this tag.
    Refused(u8),
    /// The body does not decode.
    Malformed,
    Hash(u64),
}

fn request() -> Whole {
    let body = Body::Request { method: JOIN.id(), message: Vec::new() };
    Whole::new(Kind::Request, CALL, body).with(|header| header.time_left = 5000)
}

fn message() -> Whole {
    Whole::new(Kind::Message, JOINED.get(), Body::Bytes(HI.to_vec()))
}

fn trace(state: &str) -> Option<TraceContext> {
    let trace_id = std::array::from_fn(|at| 1 + u8::try_from(at).unwrap());
    let parent_id = std::array::from_fn(|at| 0x21 + u8::try_from(at).unwrap());
    Some(TraceContext { trace_id, parent_id, flags: 1, state: state.to_owned() })
}

fn error(status: u8, origin: Origin, text: &str, details: &'static [u8]) -> Whole {
    let details = Bytes::from_static(details);
    let failure = Failure { status, origin, text: text.to_owned(), details };
    Whole::answer(Kind::Reply, CALL, Body::Reply(ReplyBody::Error(failure)))
}

fn refused(reason: Reason) -> Whole {
    let body = ReplyBody::Error(Failure::refused(reason));
    Whole::answer(Kind::Reply, CALL, Body::Reply(body))
}

fn bounce(reason: Reason, kind: Kind, hop: &str, subject: u64, seq: u32) -> Whole {
    let id = if kind == Kind::Message { subject } else { 0 };
    let session = if seq == 0 { 0x77 } else { 0 };
    let body = Bounce { reason, kind, hop: addr(hop), subject, seq, session };
    Whole::answer(Kind::Bounce, id, Body::Bounce(body))
}

fn hashes_and_payloads() -> Vec<(&'static str, Expected)> {
    let both = Expected::Both;
    let hi = Body::Request { method: JOIN.id(), message: HI.to_vec() };
    let no_reply = |header: &mut Header| (header.id, header.flags) = (0, FLAG_NO_REPLY);
    let relayed = |header: &mut Header| {
        (header.flags, header.hops, header.seq, header.time_left) =
            (FLAGS_LATER, 2, 0xffff_fffe, 1400);
    };
    let ok = |body| Whole::answer(Kind::Reply, CALL, Body::Reply(ReplyBody::Ok(body)));
    vec![
        ("hash_empty", Expected::Hash(MessageId::of("").get())),
        ("hash_method", Expected::Hash(JOIN.id())),
        ("hash_message", Expected::Hash(JOINED.get())),
        ("message", both(message().with(|header| header.time_left = 1500))),
        ("message_empty", both(Whole::new(Kind::Message, 1001, Body::Bytes(Vec::new())))),
        ("message_relayed", both(message().with(relayed))),
        ("request", both(Whole { body: hi, ..request() })),
        ("request_no_reply", {
            let hi = Body::Request { method: JOIN.id(), message: HI.to_vec() };
            both(Whole { body: hi, ..request() }.with(no_reply))
        }),
        ("extension_metadata", both(request().extended(&[("tenant", "eu")], None))),
        ("extension_metadata_repeated", {
            both(request().extended(&[("k", "1"), ("k", ""), ("u", "ü")], None))
        }),
        ("extension_trace", both(request().extended(&[], trace("")))),
        ("extension_trace_state", both(request().extended(&[], trace("vendor=opaque")))),
        ("extension_all", {
            both(request().extended(&[("tenant", "eu")], trace("vendor=opaque")))
        }),
        ("extension_unknown_even", {
            Expected::Read(request().extended(&[("tenant", "eu")], None))
        }),
        ("reply_ok", both(ok(Bytes::from_static(HI)))),
        ("reply_ok_empty", both(ok(Bytes::new()))),
        ("reply_error", both(error(5, Origin::Handler, "no room", &[0x2a]))),
        ("reply_unknown", both(error(13, Origin::Unknown, "relay", b""))),
    ]
}

/// The name of a reason's vector.
fn name_of(reason: Reason) -> &'static str {
    match reason {
        Reason::Expired => "reply_refused_expired",
        Reason::Busy => "reply_refused_busy",
        Reason::Full => "reply_refused_full",
        Reason::Draining => "reply_refused_draining",
        Reason::UnknownMessage => "reply_refused_unknown_message",
        Reason::Unimplemented => "reply_refused_unimplemented",
        Reason::NotAMember => "reply_refused_not_a_member",
        Reason::NoRoute => "reply_refused_no_route",
        Reason::TooLarge => "reply_refused_too_large",
        Reason::Overtaken => "reply_refused_overtaken",
        Reason::Incarnation => "reply_refused_incarnation",
        Reason::Hops => "reply_refused_hops",
        Reason::Extension => "reply_refused_extension",
        Reason::Malformed => "reply_refused_malformed",
        Reason::Unreachable => "reply_refused_unreachable",
        Reason::Refused => "reply_refused_refused",
        Reason::Other(_) => "reply_refused_later",
    }
}

fn notices() -> Vec<(&'static str, Expected)> {
    let both = Expected::Both;
    let joined = JOINED.get();
    let receipt = Receipt { incarnation: INCARNATION_B, up_to: 41, handled: 36, lane: 1 };
    let lost =
        Down { address: addr("1.7.42"), incarnation: INCARNATION_B, hop: addr("1.255.1"), lane: 0 };
    let lanes = vec![
        (0, Counts { session: 0x77, handled: 0, bounced: 0 }),
        (1, Counts { session: 0x78, handled: 10, bounced: 2 }),
    ];
    let closing = GoAway::Closing("a frame of kind 99".to_owned());
    let later = || Body::Bytes(b"later".to_vec());
    let gone = |body| Whole::new(Kind::GoAway, 0, Body::GoAway(body));
    vec![
        ("cancel", both(Whole::new(Kind::Cancel, CALL, Body::Bytes(Vec::new())))),
        ("bounce_message", {
            both(bounce(Reason::UnknownMessage, Kind::Message, "1.7.42", joined, 0))
        }),
        ("bounce_request", both(bounce(Reason::Draining, Kind::Request, "1.7.42", JOIN.id(), 0))),
        ("bounce_relayed", {
            both(bounce(Reason::Hops, Kind::Message, "1.255.1", joined, 0xffff_fffe))
        }),
        ("receipt", both(Whole::answer(Kind::Receipt, 0, Body::Receipt(receipt)))),
        ("down", { both(Whole::answer(Kind::Down, 0, Body::Down(lost))) }),
        ("ping", both(Whole::new(Kind::Ping, 0, Body::Pulse(Pulse::default())))),
        ("pong", {
            let pong = Whole::answer(Kind::Pong, 0, Body::Pulse(Pulse { lanes }));
            both(pong.with(|header| header.incarnation = INCARNATION_B))
        }),
        ("go_away_draining", both(gone(GoAway::Draining))),
        ("go_away_closing", both(gone(closing))),
        ("optional_first", both(Whole::new(Kind::Optional(128), 0, later()))),
        ("optional_last", both(Whole::new(Kind::Optional(255), 0, later()))),
    ]
}

fn streams() -> Vec<(&'static str, Expected)> {
    let both = Expected::Both;
    let end = |bytes, fault| Whole::new(Kind::End, 5, Body::End(End { bytes, fault }));
    let fault =
        |cause, hop, text: &str| Some(Fault { cause, hop: addr(hop), text: text.to_owned() });
    let game = fnv1a(b"game");
    let open = |incarnation| Body::Open(Open { service: game, incarnation });
    let whichever = Incarnation::from_bits(0);
    let busy = fault(Break::Refused(Reason::Busy), "1.255.1", "too many");
    vec![
        ("open", both(Whole::new(Kind::Open, 0, open(whichever)))),
        ("open_of_one_run", both(Whole::new(Kind::Open, 0, open(INCARNATION_B)))),
        ("end_well", both(end(4711, None))),
        ("end_dropped", both(end(0, fault(Break::Dropped, "1.7.42", "")))),
        ("end_reset", both(end(0, fault(Break::Reset(7), "1.7.42", "")))),
        ("end_refused", both(end(0, busy))),
    ]
}

fn wrong() -> Vec<(&'static str, Expected)> {
    use Expected::{Broken, Malformed, Refused};
    let limit = LIMITS.body_bytes_max;
    vec![
        ("broken_short", Broken(FrameError::TooShort { length: 39 })),
        ("broken_long", Broken(FrameError::TooLong { length: 40 + limit + 1, limit })),
        ("broken_kind_0", Broken(FrameError::Header { kind: 0 })),
        ("broken_kind_13", Broken(FrameError::Header { kind: 13 })),
        ("broken_kind_127", Broken(FrameError::Header { kind: 127 })),
        ("broken_to", Broken(FrameError::Header { kind: 1 })),
        ("broken_from", Broken(FrameError::Header { kind: 1 })),
        ("broken_extension", Broken(FrameError::Extension { extension: 4 })),
        ("broken_extension_long", Broken(FrameError::Extension { extension: 16385 })),
        ("refused_odd", Refused(9)),
        ("refused_length", Refused(2)),
        ("refused_key_empty", Refused(2)),
        ("refused_key_not_ascii", Refused(2)),
        ("refused_trace_zero", Refused(4)),
        ("refused_state_alone", Refused(6)),
        ("malformed_bounce", Malformed),
        ("malformed_bounce_of_reply", Malformed),
        ("malformed_bounce_hop", Malformed),
        ("malformed_pulse", Malformed),
        ("malformed_go_away", Malformed),
        ("malformed_reply", Malformed),
        ("malformed_reply_text", Malformed),
    ]
}

fn expectations() -> Vec<(&'static str, Expected)> {
    let mut all = hashes_and_payloads();
    for reason in Reason::ALL.iter().copied().chain([Reason::Other(200)]) {
        all.push((name_of(reason), Expected::Both(refused(reason))));
    }
    all.extend(notices());
    all.extend(streams());
    all.extend(wrong());
    all
}

#[test]
fn each_vector_is_expected_and_each_expectation_has_a_vector() {
    let names: Vec<_> = vectors().into_keys().collect();
    let mut expected: Vec<_> = expectations().iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn each_kind_has_a_vector() {
    let expectations = expectations();
    for kind in (1..=10).chain([128, 255]).filter_map(Kind::from_byte) {
        let is_seen = expectations.iter().any(
            |(_, expected)| matches!(expected, Expected::Both(whole) if whole.header.kind == kind),
        );
        assert!(is_seen, "{kind:?}");
    }
}

#[test]
fn frames_are_written_as_the_vectors_say() {
    let vectors = vectors();
    for (name, expected) in expectations() {
        match expected {
            Expected::Both(whole) => assert_eq!(whole.encode(), vectors[name], "{name}"),
            Expected::Hash(hash) => assert_eq!(hash.to_be_bytes()[..], vectors[name], "{name}"),
            _ => {}
        }
    }
}

#[test]
fn frames_are_read_as_the_vectors_say() {
    let vectors = vectors();
    for (name, expected) in expectations() {
        if let Expected::Both(whole) | Expected::Read(whole) = expected {
            assert_eq!(Whole::decode(&vectors[name]), whole, "{name}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_as_the_vectors_say() {
    let vectors = vectors();
    for (name, expected) in expectations() {
        let mut buffer = vectors.get(name).map(|bytes| BytesMut::from(&bytes[..])).unwrap();
        match expected {
            Expected::Broken(error) => {
                assert_eq!(decode(&mut buffer, LIMITS), Err(error), "{name}");
            }
            Expected::Refused(tag) => {
                let frame = decode(&mut buffer, LIMITS).unwrap().unwrap();
                assert_eq!(Extension::read(&frame.extension), Err(tag), "{name}");
            }
            Expected::Malformed => {
                let frame = decode(&mut buffer, LIMITS).unwrap().unwrap();
                assert_eq!(Body::read(frame.header.kind, frame.body), None, "{name}");
            }
            _ => {}
        }
    }
}
