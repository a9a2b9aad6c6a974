//! Bodies of what nodes send on their own account.

use super::*;

fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

/// Holds a reader to the rules of all bodies: what follows is ignored, what lacks is noticed.
fn check<T: PartialEq + std::fmt::Debug>(
    whole: &[u8],
    notice: &T,
    read: impl Fn(&[u8]) -> Option<T>,
) {
    assert_eq!(read(whole).as_ref(), Some(notice));
    let longer = [whole, b"of a later version"].concat();
    assert_eq!(read(&longer).as_ref(), Some(notice), "fields may be added");
    for cut in 0..whole.len() {
        assert_eq!(read(&whole[..cut]), None, "{cut} of {} bytes", whole.len());
    }
}

proptest! {
    #[test]
    fn a_pulse_is_read_as_it_was_written(
        lanes in prop::collection::vec((any::<u8>(), any::<[u64; 3]>()), 0..6),
    ) {
        let counts = |[session, handled, bounced]: [u64; 3]| Counts { session, handled, bounced };
        let lanes = lanes.into_iter().map(|(lane, numbers)| (lane, counts(numbers))).collect();
        let pulse = Pulse { lanes };
        check(&written(|out| pulse.put(out)), &pulse, Pulse::read);
    }

    #[test]
    fn a_bounce_is_read_as_it_was_written(
        reason: u8, is_message: bool, hop in addrs(), subject: u64, seq: u32,
        session: u64,
    ) {
        let kind = if is_message { Kind::Message } else { Kind::Request };
        let bounce = Bounce { reason: Reason::from_byte(reason), kind, hop, subject, seq, session };
        check(&written(|out| bounce.put(out)), &bounce, Bounce::read);
    }

    #[test]
    fn a_receipt_is_read_as_it_was_written(
        incarnation: u64,
        up_to: u32,
        handled: u32,
        lane: u8,
    ) {
        let incarnation = Incarnation::from_bits(incarnation);
        let receipt = Receipt { incarnation, up_to, handled, lane };
        check(&written(|out| receipt.put(out)), &receipt, Receipt::read);
    }

    #[test]
    fn a_down_is_read_as_it_was_written(
        address in addrs(),
        incarnation: u64,
        hop in addrs(),
        lane: u8,
    ) {
        let down = Down { address, incarnation: Incarnation::from_bits(incarnation), hop, lane };
        check(&written(|out| down.put(out)), &down, Down::read);
    }

    #[test]
    fn a_go_away_is_read_as_it_was_written(text in ".{0,60}") {
        for body in [GoAway::Draining, GoAway::Closing(text)] {
            prop_assert_eq!(GoAway::read(&written(|out| body.put(out))), Some(body));
        }
    }
}

#[test]
fn nothing_but_a_message_or_a_request_can_bounce() {
    for byte in 0..=255 {
        let bounce = [&[1, byte][..], &addr(1).bits().to_be_bytes(), &[0; 20]].concat();
        assert_eq!(Bounce::read(&bounce).is_some(), matches!(byte, 1 | 2), "kind {byte}");
    }
}

#[test]
fn a_notice_about_an_address_that_is_none_is_none() {
    assert_eq!(Bounce::read(&[&[1, 1][..], &[0; 16]].concat()), None);
    assert_eq!(Down::read(&[0; 16]), None);
}

#[test]
fn the_text_of_a_go_away_is_cut_at_256_bytes() {
    let body = GoAway::Closing("ä".repeat(200) + "!");
    let out = written(|out| body.put(out));
    assert_eq!(GoAway::read(&out), Some(GoAway::Closing("ä".repeat(128))));
    let longer = [&[1][..], &[b'x'; 1_000]].concat();
    assert_eq!(GoAway::read(&longer), Some(GoAway::Closing("x".repeat(256))));
    assert_eq!(GoAway::read(&[]), None);
}

#[test]
fn p19_the_count_of_a_pulse_is_not_taken_on_its_word() {
    assert_eq!(Pulse::read(&[255]), None);
    assert_eq!(Pulse::read(&[&[2][..], &[0; 49]].concat()), None);
}
