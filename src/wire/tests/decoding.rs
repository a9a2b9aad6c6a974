//! Frames out of whatever a peer sends.

use super::*;

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1_000 };

/// The frames of a stream that arrives in pieces, and how it ends.
fn decode_in_pieces(
    stream: &[u8],
    pieces: impl IntoIterator<Item = usize>,
) -> (Vec<Frame>, Result<usize, FrameError>) {
    let (mut buffer, mut frames, mut rest) = (BytesMut::new(), Vec::new(), stream);
    for piece in pieces {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        rest = later;
        buffer.extend_from_slice(now);
        loop {
            match decode(&mut buffer, LIMITS) {
                Ok(Ok(frame)) => frames.push(frame),
                Ok(Err(wanted)) => {
                    assert!(wanted > 0, "nothing is wanted and no frame comes");
                    break;
                }
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(buffer.len() + rest.len()))
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_the_bytes_arrive(
        parts in prop::collection::vec((headers(), bytes(0..30), bytes(0..100)), 1..8),
        pieces in prop::collection::vec(1..60_usize, 0..200),
    ) {
        let frames: Vec<_> = parts
            .into_iter()
            .map(|(header, extension, body)| Frame { header, extension, body })
            .collect();
        let mut stream = Vec::new();
        for frame in &frames {
            put(frame, &mut stream);
        }
        let pieces = pieces.into_iter().chain([usize::MAX]);
        prop_assert_eq!(decode_in_pieces(&stream, pieces), (frames, Ok(0)));
    }

    #[test]
    fn what_is_wanted_is_never_more_than_the_frame_lacks(cut in 0..144_usize) {
        let whole = encode(&frame(Kind::Message, 0, 100));
        let mut buffer = BytesMut::from(&whole[..cut]);
        let Ok(Err(wanted)) = decode(&mut buffer, LIMITS) else { panic!("{cut} bytes are enough") };
        prop_assert!(wanted <= whole.len() - cut);
        prop_assert_eq!(buffer.len(), cut, "nothing is taken off");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn p19_no_bytes_make_the_decoder_panic_or_allocate(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        length in prop::option::of(0..2_000_u32),
    ) {
        let mut bytes = bytes;
        // Pure chance rarely gets past the length.
        if let (Some(length), Some(field)) = (length, bytes.first_chunk_mut::<4>()) {
            *field = length.to_be_bytes();
        }
        let mut buffer = BytesMut::from(&bytes[..]);
        let capacity = buffer.capacity();
        while let Ok(Ok(frame)) = decode(&mut buffer, LIMITS) {
            prop_assert!(frame.body.len() + frame.extension.len() <= bytes.len());
            drop(Extension::read(&frame.extension));
        }
        prop_assert!(buffer.capacity() <= capacity);
    }

    #[test]
    fn p19_no_bytes_make_a_reader_of_bodies_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(bytes);
        drop(ReplyBody::read(body.clone()));
        drop(Extension::read(&body));
        let pulse = Pulse::read(&body);
        prop_assert!(pulse.is_none_or(|pulse| pulse.lanes.len() * 25 <= body.len()));
        drop((Bounce::read(&body), Receipt::read(&body), Down::read(&body), GoAway::read(&body)));
    }
}

#[test]
fn p19_a_length_alone_is_judged_before_the_rest_is_there() {
    let head = |length: u32| decode(&mut BytesMut::from(&length.to_be_bytes()[..]), LIMITS);
    let most = 40 + 16_384 + 1_000;
    for length in [0, 39] {
        assert_eq!(head(length), Err(FrameError::TooShort { length: length as usize }));
    }
    assert_eq!(head(40), Ok(Err(40)));
    assert_eq!(head(most), Ok(Err(40)), "a header first");
    for length in [most + 1, u32::MAX] {
        assert_eq!(
            head(length),
            Err(FrameError::TooLong { length: length as usize, limit: 1_000 })
        );
    }
}

#[test]
fn p19_a_header_alone_is_judged_before_the_rest_is_there() {
    let mut whole = encode(&frame(Kind::Message, 0, 1_001));
    let mut head = whole.split_to(HEADER_LEN);
    assert_eq!(decode(&mut head, LIMITS), Err(FrameError::TooLong { length: 1_041, limit: 1_000 }));
}

#[test]
fn a_body_at_the_limit_passes_and_one_byte_more_does_not() {
    for extension in [0, 500] {
        let at = |body| decode(&mut encode(&frame(Kind::Message, extension, body)), LIMITS);
        assert!(matches!(at(1_000), Ok(Ok(_))));
        assert_eq!(at(1_001), Err(FrameError::TooLong { length: 1_041 + extension, limit: 1_000 }));
    }
}

#[test]
fn an_extension_at_the_limit_passes_and_one_byte_more_does_not() {
    let at = |extension| decode(&mut encode(&frame(Kind::Message, extension, 10)), LIMITS);
    assert!(matches!(at(EXTENSION_BYTES_MAX), Ok(Ok(_))));
    assert_eq!(at(EXTENSION_BYTES_MAX + 1), Err(FrameError::Extension { extension: 16_385 }));
}

#[test]
fn an_extension_longer_than_its_frame_is_refused() {
    let mut buffer = encode(&frame(Kind::Message, 5, 5));
    buffer[41] = 11;
    assert_eq!(decode(&mut buffer, LIMITS), Err(FrameError::Extension { extension: 11 }));
    let mut whole = encode(&frame(Kind::Message, 5, 5));
    whole[41] = 10;
    assert!(matches!(decode(&mut whole, LIMITS), Ok(Ok(frame)) if frame.body.is_empty()));
}

#[test]
fn p22_an_unknown_kind_passes_only_if_it_may_be_skipped() {
    for kind in 0..=255 {
        let mut buffer = encode(&frame(Kind::Message, 0, 0));
        buffer[4] = kind;
        let decoded = decode(&mut buffer, LIMITS);
        match kind {
            1..=12 | 128.. => assert_eq!(decoded.unwrap().unwrap().header.kind.byte(), kind),
            _ => assert_eq!(decoded, Err(FrameError::Header { kind })),
        }
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    for offset in [8, 12] {
        let mut buffer = encode(&frame(Kind::Message, 0, 0));
        buffer[offset..offset + 4].fill(0);
        assert_eq!(decode(&mut buffer, LIMITS), Err(FrameError::Header { kind: 1 }));
    }
}

#[test]
fn frames_before_a_broken_one_are_still_read() {
    let good = frame(Kind::Request, 3, 9);
    let mut stream = encode(&good).to_vec();
    stream.extend_from_slice(&7_u32.to_be_bytes());
    let (frames, end) = decode_in_pieces(&stream, [usize::MAX]);
    assert_eq!((frames, end), (vec![good], Err(FrameError::TooShort { length: 7 })));
}
