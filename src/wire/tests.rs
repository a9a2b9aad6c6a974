mod decoding;
mod notices;
mod vectors;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::header::{EXTENSION_BYTES_MAX, queued};
use super::*;
use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::incarnation::Incarnation;

fn addr(id: u16) -> LogicalAddr {
    LogicalAddr::new(1, 1, id)
}

fn addrs() -> impl Strategy<Value = LogicalAddr> {
    (1..4096_u16, 1..=255_u8, 0..4096_u16).prop_map(|(group, number, id)| match number {
        255 => LogicalAddr::harbor(group, id),
        number => LogicalAddr::new(group, number, id),
    })
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![1..=12_u8, 128..=255_u8].prop_map(|byte| Kind::from_byte(byte).unwrap())
}

prop_compose! {
    fn headers()(
        kind in kinds(), flags: u8, hops: u8, to in addrs(), from in addrs(), id: u64,
        incarnation: u64, seq: u32, time_left: u32,
    ) -> Header {
        let incarnation = Incarnation::from_bits(incarnation);
        Header { kind, flags, hops, to, from, id, incarnation, seq, time_left }
    }
}

fn bytes(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), len).prop_map(Bytes::from)
}

fn put(frame: &Frame, out: &mut Vec<u8>) {
    frame.header.put(out, frame.extension.len(), frame.body.len());
    out.extend_from_slice(&frame.extension);
    out.extend_from_slice(&frame.body);
}

fn encode(frame: &Frame) -> BytesMut {
    let mut out = Vec::new();
    put(frame, &mut out);
    BytesMut::from(&out[..])
}

fn frame(kind: Kind, extension: usize, body: usize) -> Frame {
    let header = Header::new(kind, addr(1), addr(2), 3, Incarnation::from_bits(4));
    let (extension, body) = (vec![1; extension].into(), vec![2; body].into());
    Frame { header, extension, body }
}

#[test]
fn each_kind_has_a_byte_that_leads_back() {
    for byte in 0..=255 {
        let is_known = matches!(byte, 1..=12 | 128..);
        assert_eq!(Kind::from_byte(byte).map(Kind::byte), is_known.then_some(byte));
    }
}

#[test]
fn one_way_is_what_nobody_answers() {
    for byte in (1..=12).chain(128..=255) {
        for flags in [0, FLAG_NO_REPLY, 0xff] {
            let kind = Kind::from_byte(byte).unwrap();
            let header = Header {
                flags,
                ..Header::new(kind, addr(1), addr(2), 0, Incarnation::from_bits(0))
            };
            let is_notify = kind == Kind::Request && flags & FLAG_NO_REPLY != 0;
            assert_eq!(header.is_one_way(), kind == Kind::Message || is_notify, "{kind:?}");
        }
    }
}

#[test]
fn the_header_lies_as_the_table_says() {
    let header = Header {
        kind: Kind::Bounce,
        flags: 0x02,
        hops: 3,
        to: LogicalAddr::from_bits(0x0010_1002).unwrap(),
        from: LogicalAddr::from_bits(0x0020_3004).unwrap(),
        id: 0x0102_0304_0506_0708,
        incarnation: Incarnation::from_bits(0x1112_1314_1516_1718),
        seq: 0x2122_2324,
        time_left: 0x3132_3334,
    };
    let frame =
        Frame { header, extension: Bytes::from_static(&[2, 0, 0]), body: Bytes::from_static(b"!") };
    let expected = [
        0, 0, 0, 44, 5, 2, 3, 0, // length, kind, flags, hops, spare
        0x00, 0x10, 0x10, 0x02, 0x00, 0x20, 0x30, 0x04, // to, from
        1, 2, 3, 4, 5, 6, 7, 8, // id
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, // incarnation
        0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34, // seq, time left
        0, 3, 0, 0, // extension, spare
        2, 0, 0, b'!',
    ];
    assert_eq!(encode(&frame)[..], expected);
}

#[test]
fn spare_bytes_are_ignored() {
    let frame = frame(Kind::Message, 0, 1);
    let mut buffer = encode(&frame);
    (buffer[7], buffer[42], buffer[43]) = (9, 9, 9);
    assert_eq!(decode(&mut buffer, FrameLimits { body_bytes_max: 1 }), Ok(Ok(frame)));
}

#[test]
fn p05_a_queued_deadline_is_the_time_left_when_it_leaves() {
    for (deadline, now, left) in
        [(1_000, 1, 999), (1_000, 999, 1), (1_000, 1_000, 0), (5, 9_000, 0)]
    {
        let mut buffer = encode(&Frame {
            header: Header {
                time_left: queued::deadline(Millis(deadline)),
                ..frame(Kind::Request, 0, 0).header
            },
            ..frame(Kind::Request, 0, 0)
        });
        assert_eq!(queued::is_expired(&buffer, 0, Millis(now)), left == 0);
        let leaving = queued::leave(&mut buffer, 0, Millis(now)).unwrap();
        assert_eq!(leaving.is_in_time, left > 0);
        assert_eq!(queued::header(&buffer, 0).unwrap().time_left, left);
        if left > 0 {
            queued::stay(&mut buffer, 0, Millis(now));
            assert!(!queued::is_expired(&buffer, 0, Millis(deadline - 1)), "it stays as it was");
            assert!(queued::is_expired(&buffer, 0, Millis(deadline)));
        }
    }
}

#[test]
fn a_frame_without_deadline_never_expires() {
    let mut buffer = encode(&frame(Kind::Message, 0, 0));
    assert_eq!(queued::deadline(Millis::NEVER), NO_DEADLINE);
    assert!(!queued::is_expired(&buffer, 0, Millis(u64::MAX)));
    assert!(queued::leave(&mut buffer, 0, Millis(u64::MAX)).unwrap().is_in_time);
    queued::stay(&mut buffer, 0, Millis(77));
    assert_eq!(queued::header(&buffer, 0).unwrap().time_left, NO_DEADLINE);
}

#[test]
fn the_method_of_a_queued_request_lies_behind_its_extension() {
    for extension in [0, 1, 300] {
        let mut frame = frame(Kind::Request, extension, 0);
        frame.body = Bytes::copy_from_slice(&[0, 0, 0, 0, 0, 0, 1, 2, 9, 9]);
        assert_eq!(queued::method(&encode(&frame), 0), Some(258));
    }
    assert_eq!(queued::method(&encode(&frame(Kind::Request, 0, 7)), 0), None, "too short");
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(
        header in headers(), extension in bytes(0..50), body in bytes(0..200),
    ) {
        let frame = Frame { header, extension, body };
        let mut buffer = encode(&frame);
        prop_assert_eq!(decode(&mut buffer, FrameLimits { body_bytes_max: 200 }), Ok(Ok(frame)));
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn a_frame_that_leaves_is_told_of_as_its_header_says(header in headers(), body in bytes(0..50)) {
        let frame = Frame { header, extension: Bytes::new(), body };
        let mut buffer = encode(&frame);
        let leaving = queued::leave(&mut buffer, 0, Millis(0)).unwrap();
        prop_assert_eq!(leaving.len, frame.len());
        prop_assert!(!leaving.is_void);
        prop_assert_eq!(leaving.is_passing, header.hops > 0);
        prop_assert_eq!(leaving.is_counted, header.is_counted());
        prop_assert!(queued::void(&mut buffer, 0));
        prop_assert!(queued::leave(&mut buffer, 0, Millis(0)).unwrap().is_void);
    }

    #[test]
    fn a_reply_is_read_as_it_was_written(
        status in 1..=255_u8, origin in 0..3_usize, text in ".{0,80}", details in bytes(0..80),
    ) {
        let origin = [Origin::Handler, Origin::Refused, Origin::Unknown][origin];
        let failure = Failure { status, origin, text, details };
        let mut out = Vec::new();
        failure.put(&mut out);
        prop_assert_eq!(out.len(), failure.len());
        prop_assert_eq!(ReplyBody::read(out.into()), Some(ReplyBody::Error(failure)));
    }

    #[test]
    fn an_extension_is_read_as_it_was_written(
        pairs in prop::collection::vec(("[a-z]{1,20}", ".{0,30}"), 0..METADATA_PAIRS_MAX),
        ids in (any::<[u8; 15]>(), any::<[u8; 7]>(), any::<u8>()),
        state in prop::option::of("[ -~]{0,100}"),
    ) {
        let (trace_id, parent_id, flags) = ids;
        let trace = state.map(|state| {
            let (mut trace, mut parent) = ([1; 16], [1; 8]);
            trace[1..].copy_from_slice(&trace_id);
            parent[1..].copy_from_slice(&parent_id);
            TraceContext { trace_id: trace, parent_id: parent, flags, state }
        });
        let extension = Extension { metadata: pairs, trace };
        let mut out = Vec::new();
        let len = extension.put(&mut out);
        prop_assert_eq!(len, out.len());
        prop_assert_eq!(Extension::read(&out.into()), Ok(extension));
    }
}

#[test]
fn the_text_of_a_failure_is_cut_at_a_whole_character() {
    let text = "ä".repeat(3_000);
    let failure =
        Failure { status: 2, origin: Origin::Handler, text, details: Bytes::from_static(b"d") };
    let mut out = Vec::new();
    failure.put(&mut out);
    assert_eq!(out.len(), failure.len());
    let Some(ReplyBody::Error(read)) = ReplyBody::read(out.into()) else { panic!("no error") };
    assert_eq!(read.text, "ä".repeat(2_048));
    assert_eq!(read.details, "d");
}

#[test]
fn a_refusal_tells_its_reason_and_origin() {
    for reason in Reason::ALL {
        let mut out = Vec::new();
        Failure::refused(*reason).put(&mut out);
        let Some(ReplyBody::Error(read)) = ReplyBody::read(out.into()) else { panic!("no error") };
        assert_eq!((Reason::from_byte(read.status), read.origin), (*reason, Origin::Refused));
    }
}

#[test]
fn an_origin_of_a_newer_version_says_that_nothing_is_known() {
    let Some(ReplyBody::Error(read)) = ReplyBody::read(Bytes::from_static(&[1, 77, 0, 0])) else {
        panic!("no error")
    };
    assert_eq!(read.origin, Origin::Unknown);
}

#[test]
fn a_reply_that_lacks_bytes_is_none() {
    for body in [&[][..], &[1], &[1, 0], &[1, 0, 0], &[1, 0, 0, 2, b'x']] {
        assert_eq!(ReplyBody::read(Bytes::copy_from_slice(body)), None, "{body:?}");
    }
    assert_eq!(ReplyBody::read(Bytes::from_static(&[0])), Some(ReplyBody::Ok(Bytes::new())));
}

/// One field as it stands on the wire.
fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.put_u16(u16::try_from(value.len()).unwrap());
    out.extend_from_slice(value);
    out
}

#[test]
fn an_even_tag_that_is_unknown_is_skipped_and_an_odd_one_refused() {
    let known = field(2, b"\x01kv");
    for tag in (0..=255).filter(|tag| !matches!(tag, 2 | 4 | 6)) {
        let area = Bytes::from([field(tag, b"abc"), known.clone()].concat());
        let read = Extension::read(&area);
        match tag % 2 {
            0 => assert_eq!(read.unwrap().metadata, [("k".to_owned(), "v".to_owned())]),
            _ => assert_eq!(read, Err(tag)),
        }
    }
}

#[test]
fn an_extension_that_breaks_a_rule_names_the_field() {
    let trace = |trace_id: u8, parent_id: u8| {
        field(4, &[vec![trace_id; 16], vec![parent_id; 8], vec![1]].concat())
    };
    let cases: [(u8, Vec<u8>); 13] = [
        (2, vec![2]),
        (2, vec![2, 0]),
        (2, vec![2, 0, 5, 1]),
        (2, field(2, b"")),
        (2, field(2, b"\x00v")),
        (2, field(2, b"\x02k")),
        (2, field(2, b"\x01\xffv")),
        (2, field(2, b"\x01k\xff")),
        (4, trace(0, 1)),
        (4, trace(1, 0)),
        (4, field(4, &[1; 24])),
        (6, field(6, b"state without a trace")),
        (6, [trace(1, 1), field(6, b"\xff")].concat()),
    ];
    for (tag, area) in cases {
        assert_eq!(Extension::read(&Bytes::from(area.clone())), Err(tag), "{area:?}");
    }
}

#[test]
fn p08_an_extension_holds_so_many_pairs_and_bytes_and_no_more() {
    let pairs = |count: usize, bytes: usize| {
        let value = "v".repeat(bytes / count - 1);
        let metadata = vec![("k".to_owned(), value); count];
        let mut out = Vec::new();
        Extension { metadata, trace: None }.put(&mut out);
        Extension::read(&out.into()).map(|extension| extension.metadata.len())
    };
    assert_eq!(pairs(METADATA_PAIRS_MAX, METADATA_BYTES_MAX), Ok(METADATA_PAIRS_MAX));
    assert_eq!(pairs(METADATA_PAIRS_MAX + 1, 33 * 2), Err(2));
    assert_eq!(pairs(METADATA_PAIRS_MAX, METADATA_BYTES_MAX + METADATA_PAIRS_MAX), Err(2));
    let state = |len: usize| {
        let state = "s".repeat(len);
        let trace = TraceContext { trace_id: [1; 16], parent_id: [1; 8], flags: 0, state };
        let mut out = Vec::new();
        Extension { metadata: Vec::new(), trace: Some(trace) }.put(&mut out);
        Extension::read(&out.into()).map(|extension| extension.trace.unwrap().state.len())
    };
    assert_eq!(state(512), Ok(512));
    assert_eq!(state(513), Err(6));
}
