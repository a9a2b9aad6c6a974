mod model;

use super::*;
use crate::addr::LogicalAddr;
use crate::wire::{FLAG_NO_REPLY, FrameLimits, NO_DEADLINE, decode};

const BOUNDS: Bounds = Bounds { bytes_max: 1000, reserve: 200, pair_bytes_max: 500 };

fn header(kind: Kind, id: u64) -> Header {
    let from = LogicalAddr::new(1, 1, 1);
    let to = LogicalAddr::new(1, 1, 2);
    Header::new(kind, from, to, id, Incarnation::from_bits(1))
}

fn put(
    outbox: &mut Outbox,
    class: Class,
    header: Header,
    deadline: Millis,
    body_len: usize,
) -> Result<u64, Rejected> {
    outbox.check(class, HEADER_LEN + body_len)?;
    outbox.put(header, deadline, (0, body_len), |out| {
        // A request's body begins with its method; here that is its id.
        let id = header.id.to_be_bytes();
        out.extend((0..body_len).map(|at| id.get(at).copied().unwrap_or(0xee)));
    })
}

fn put_data(outbox: &mut Outbox, kind: Kind, id: u64, deadline: Millis) -> u64 {
    put(outbox, Class::Data, header(kind, id), deadline, 16).unwrap()
}

const LEN: u64 = HEADER_LEN as u64 + 16;

/// Ids and times left of the whole frames in `bytes`, and how many bytes are over.
fn frames(bytes: &[u8]) -> (Vec<(u64, u32)>, usize) {
    let mut buffer = bytes::BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Ok(frame) = decode(&mut buffer, FrameLimits { body_bytes_max: 1 << 20 }).unwrap() {
        frames.push((frame.header.id, frame.header.time_left));
    }
    (frames, buffer.len())
}

/// Writes up to `n` bytes of the batch.
fn write(outbox: &mut Outbox, batch: &mut Batch, n: usize) -> Vec<u8> {
    let mut written = Vec::new();
    while written.len() < n && !batch.chunk().is_empty() {
        let len = batch.chunk().len().min(n - written.len());
        written.extend_from_slice(&batch.chunk()[..len]);
        batch.advance(len);
        outbox.on_written(batch.left());
    }
    written
}

/// Takes and writes until nothing waits.
fn flush(outbox: &mut Outbox, now: Millis) -> Vec<(u64, u32)> {
    let (mut batch, mut written) = (Batch::default(), Vec::new());
    while outbox.waiting() > 0 {
        outbox.take(now, &mut batch, &mut Vec::new());
        written.extend(write(outbox, &mut batch, usize::MAX));
    }
    let (frames, over) = frames(&written);
    assert_eq!(over, 0);
    frames
}

fn ids(unsent: &[Unsent]) -> Vec<u64> {
    unsent.iter().map(|unsent| unsent.header.id).collect()
}

#[test]
fn frames_leave_in_the_order_in_which_they_were_put() {
    let mut outbox = Outbox::new(BOUNDS);
    for id in 1..=5 {
        put_data(&mut outbox, Kind::Message, id, Millis::NEVER);
    }
    let expected: Vec<_> = (1..=5).map(|id| (id, NO_DEADLINE)).collect();
    assert_eq!(flush(&mut outbox, Millis(0)), expected);
}

#[test]
fn p04_a_frame_taken_back_is_never_written() {
    let mut outbox = Outbox::new(BOUNDS);
    put_data(&mut outbox, Kind::Request, 1, Millis::NEVER);
    let second = put_data(&mut outbox, Kind::Request, 2, Millis::NEVER);
    put_data(&mut outbox, Kind::Request, 3, Millis::NEVER);
    assert!(outbox.void(second));
    assert!(outbox.void(second), "it still is not written and will not be");
    assert_eq!(flush(&mut outbox, Millis(0)), [(1, NO_DEADLINE), (3, NO_DEADLINE)]);
}

#[test]
fn p04_a_frame_that_the_writer_has_taken_cannot_be_taken_back() {
    let mut outbox = Outbox::new(BOUNDS);
    let position = put_data(&mut outbox, Kind::Request, 1, Millis::NEVER);
    outbox.take(Millis(0), &mut Batch::default(), &mut Vec::new());
    assert!(!outbox.void(position));
}

#[test]
fn p04_positions_hold_when_what_waited_behind_a_stuck_writer_has_expired() {
    let mut outbox = Outbox::new(BOUNDS);
    let mut batch = Batch::default();
    put_data(&mut outbox, Kind::Request, 1, Millis::NEVER);
    outbox.take(Millis(0), &mut batch, &mut Vec::new());
    put_data(&mut outbox, Kind::Request, 2, Millis(10));
    let mut expired = Vec::new();
    outbox.sweep(Millis(10), &mut expired);
    assert_eq!(ids(&expired), [2]);
    let third = put_data(&mut outbox, Kind::Request, 3, Millis::NEVER);
    let handed = outbox.end_session(&mut batch);
    assert_eq!(handed, Handed { below: 0, one_way: 0 });
    assert!(outbox.void(third), "it waits, so it can be taken back");
    assert_eq!(flush(&mut outbox, Millis(20)), [(1, NO_DEADLINE)]);
}

#[test]
fn p08_what_expires_behind_a_stuck_writer_gives_its_room_back() {
    let mut outbox = Outbox::new(BOUNDS);
    let mut batch = Batch::default();
    put_data(&mut outbox, Kind::Message, 0, Millis::NEVER);
    outbox.take(Millis(0), &mut batch, &mut Vec::new());
    for round in 1..1000 {
        let (now, id) = (Millis(round * 100), round);
        put_data(&mut outbox, Kind::Message, id, now);
        let mut expired = Vec::new();
        outbox.sweep(now, &mut expired);
        assert_eq!(ids(&expired), [id]);
    }
    let held = outbox.returned.buffer.capacity() + outbox.fresh.buffer.capacity();
    assert!(held <= 2 * BOUNDS.bytes_max, "{held} bytes");
}

#[test]
fn a_burst_leaves_its_room_to_the_next_one_and_nothing_behind_when_none_comes() {
    let mut outbox = Outbox::new(Bounds { bytes_max: 1 << 20, ..BOUNDS });
    let mut batch = Batch::default();
    let held = |outbox: &Outbox, batch: &Batch| {
        outbox.fresh.buffer.capacity() + outbox.spare.capacity() + batch.buffer.capacity()
    };
    let mut before = 0;
    for burst in 0..5 {
        put(&mut outbox, Class::Data, header(Kind::Request, 1), Millis::NEVER, 500_000).unwrap();
        outbox.take(Millis(burst), &mut batch, &mut Vec::new());
        write(&mut outbox, &mut batch, usize::MAX);
        outbox.rest(&mut batch);
        outbox.free_idle(Millis(burst + IDLE_MS - 1));
        let now = held(&outbox, &batch);
        assert!(burst < 2 || now == before, "{now} bytes after {before}");
        before = now;
    }
    assert!(before > 500_000);
    outbox.free_idle(Millis(4 + IDLE_MS));
    assert_eq!(held(&outbox, &batch), 0);
}

#[test]
fn p05_the_time_left_shrinks_by_the_time_lain_also_across_a_session() {
    let mut outbox = Outbox::new(BOUNDS);
    let mut batch = Batch::default();
    put_data(&mut outbox, Kind::Request, 1, Millis(1_000));
    outbox.take(Millis(300), &mut batch, &mut Vec::new());
    assert_eq!(frames(batch.chunk()).0, [(1, 700)]);
    outbox.end_session(&mut batch);
    outbox.begin_session(Incarnation::from_bits(1), usize::MAX, &mut Vec::new());
    assert_eq!(flush(&mut outbox, Millis(900)), [(1, 100)]);
}

#[test]
fn p05_a_frame_expires_at_its_deadline_and_not_a_millisecond_before() {
    for (now, is_expired) in [(99, false), (100, true), (101, true)] {
        let mut outbox = Outbox::new(BOUNDS);
        put_data(&mut outbox, Kind::Request, 7, Millis(100));
        let mut expired = Vec::new();
        outbox.take(Millis(now), &mut Batch::default(), &mut expired);
        assert_eq!(!expired.is_empty(), is_expired, "taken at {now}");
        if let Some(unsent) = expired.first() {
            assert_eq!(unsent.method, 7, "the method of a request is told");
        }
    }
}

#[test]
fn deadlines_hold_across_the_wrap_of_their_32_bits() {
    let wrap = u64::from(u32::MAX) + 1;
    for deadline in wrap - 3..wrap + 3 {
        let mut outbox = Outbox::new(BOUNDS);
        put_data(&mut outbox, Kind::Request, 1, Millis(deadline));
        let left = flush(&mut outbox, Millis(deadline - 1_000))[0].1;
        // One moment of the low bits stands for no deadline; its neighbour is taken instead.
        assert!((999..=1_000).contains(&left), "{left} ms left");
    }
}

#[test]
fn p04_handed_are_those_of_which_a_byte_was_written() {
    let one = usize::try_from(LEN).unwrap();
    for (written, below) in [(0, 0), (1, 1), (one, 1), (one + 1, 2), (2 * one, 2), (3 * one, 3)] {
        let mut outbox = Outbox::new(BOUNDS);
        let mut batch = Batch::default();
        for id in 1..=3 {
            put_data(&mut outbox, Kind::Message, id, Millis::NEVER);
        }
        outbox.begin_session(Incarnation::from_bits(1), usize::MAX, &mut Vec::new());
        outbox.take(Millis(0), &mut batch, &mut Vec::new());
        write(&mut outbox, &mut batch, written);
        let handed = outbox.end_session(&mut batch);
        assert_eq!(handed, Handed { below: below * LEN, one_way: below }, "{written} written");
        let rest: Vec<_> = (below + 1..=3).map(|id| (id, NO_DEADLINE)).collect();
        assert_eq!(flush(&mut outbox, Millis(0)), rest, "{written} written");
    }
}

#[test]
fn what_belongs_to_a_session_does_not_outlive_it() {
    let mut outbox = Outbox::new(BOUNDS);
    let kinds = [Kind::Reply, Kind::Message, Kind::Pong, Kind::Cancel, Kind::Bounce, Kind::Request];
    for (id, kind) in kinds.into_iter().enumerate() {
        put_data(&mut outbox, kind, id as u64, Millis::NEVER);
    }
    outbox.end_session(&mut Batch::default());
    assert_eq!(flush(&mut outbox, Millis(0)), [(1, NO_DEADLINE), (5, NO_DEADLINE)]);
}

#[test]
fn p03_draining_gives_messages_and_requests_back_and_leaves_the_rest() {
    let mut outbox = Outbox::new(BOUNDS);
    put_data(&mut outbox, Kind::Message, 1, Millis::NEVER);
    put_data(&mut outbox, Kind::Reply, 2, Millis::NEVER);
    put_data(&mut outbox, Kind::Request, 3, Millis::NEVER);
    let mut drained = Vec::new();
    outbox.drain(false, &mut drained);
    assert_eq!(ids(&drained), [1, 3]);
    assert_eq!(flush(&mut outbox, Millis(0)), [(2, NO_DEADLINE)]);
}

#[test]
fn draining_gives_answers_that_outlive_sessions_back_only_without_one() {
    let mut outbox = Outbox::new(BOUNDS);
    let to = LogicalAddr::new(2, 1, 1);
    let reply = Header { to, ..header(Kind::Reply, 1) };
    put(&mut outbox, Class::Data, reply, Millis::NEVER, 8).unwrap();
    for (is_up, given_back) in [(true, &[][..]), (false, &[1])] {
        let mut drained = Vec::new();
        outbox.drain(is_up, &mut drained);
        assert_eq!(ids(&drained), given_back);
    }
}

#[test]
fn p08_data_waits_at_the_bound_and_control_at_the_reserve() {
    let room = |len: usize| len - HEADER_LEN;
    let check = |class, len| {
        let mut outbox = Outbox::new(BOUNDS);
        put(&mut outbox, Class::Data, header(Kind::Reply, 1), Millis::NEVER, room(500)).unwrap();
        let put = put(&mut outbox, class, header(Kind::Reply, 2), Millis::NEVER, room(len));
        put.map(|_| outbox.queued())
    };
    assert_eq!(check(Class::Data, 500), Ok(1000));
    assert_eq!(check(Class::Data, 501), Err(Rejected::Full));
    assert_eq!(check(Class::Control, 700), Ok(1200));
    assert_eq!(check(Class::Control, 701), Err(Rejected::Overflow));
    assert_eq!(check(Class::Cancel, 5000), Ok(5500));
}

#[test]
fn p08_what_is_being_written_counts_until_it_is_written() {
    let mut outbox = Outbox::new(BOUNDS);
    let mut batch = Batch::default();
    put(&mut outbox, Class::Data, header(Kind::Message, 1), Millis::NEVER, 900).unwrap();
    outbox.take(Millis(0), &mut batch, &mut Vec::new());
    let attempt = |outbox: &Outbox| outbox.check(Class::Data, 100);
    assert_eq!(attempt(&outbox), Err(Rejected::Full));
    write(&mut outbox, &mut batch, 44);
    assert_eq!(attempt(&outbox), Ok(()));
}

#[test]
fn an_empty_outbox_takes_a_frame_over_its_bound() {
    let mut outbox = Outbox::new(BOUNDS);
    put(&mut outbox, Class::Data, header(Kind::Message, 1), Millis::NEVER, 5_000).unwrap();
    assert_eq!(outbox.check(Class::Data, HEADER_LEN), Err(Rejected::Full), "but only one");
}

#[test]
fn p15_what_waits_goes_out_in_the_name_of_the_incarnation_that_sends_it() {
    let mut outbox = Outbox::new(BOUNDS);
    let mut batch = Batch::default();
    put_data(&mut outbox, Kind::Request, 1, Millis::NEVER);
    outbox.begin_session(Incarnation::from_bits(2), usize::MAX, &mut Vec::new());
    outbox.take(Millis(0), &mut batch, &mut Vec::new());
    let mut buffer = bytes::BytesMut::from(batch.chunk());
    let frame = decode(&mut buffer, FrameLimits { body_bytes_max: 100 }).unwrap().unwrap();
    assert_eq!(frame.header.incarnation, Incarnation::from_bits(2));
}

#[test]
fn one_way_are_messages_and_requests_that_want_no_reply() {
    let mut outbox = Outbox::new(BOUNDS);
    let mut batch = Batch::default();
    let mut notify = header(Kind::Request, 1);
    notify.flags = FLAG_NO_REPLY;
    put(&mut outbox, Class::Data, notify, Millis::NEVER, 16).unwrap();
    for kind in [Kind::Message, Kind::Request, Kind::Reply] {
        put_data(&mut outbox, kind, 2, Millis::NEVER);
    }
    outbox.begin_session(Incarnation::from_bits(1), usize::MAX, &mut Vec::new());
    outbox.take(Millis(0), &mut batch, &mut Vec::new());
    write(&mut outbox, &mut batch, usize::MAX);
    assert_eq!(outbox.end_session(&mut batch).one_way, 2);
}

#[test]
fn a_body_longer_than_was_said_leaves_nothing_behind() {
    let mut outbox = Outbox::new(BOUNDS);
    put_data(&mut outbox, Kind::Message, 1, Millis::NEVER);
    let header = header(Kind::Message, 2);
    let longer = |out: &mut Vec<u8>| out.extend([0; 17]);
    let outcome = outbox.put(header, Millis(5), (0, 16), longer);
    assert_eq!(outcome, Err(Rejected::Longer));
    assert_eq!(put_data(&mut outbox, Kind::Message, 3, Millis::NEVER), LEN);
    assert_eq!(outbox.earliest_deadline(), Millis::NEVER);
    let ids: Vec<_> = flush(&mut outbox, Millis(0)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [1, 3]);
}

#[test]
fn p08_a_harbor_keeps_so_much_of_one_pair_and_no_more() {
    let relayed = |id: u16, kind| {
        let (from, to) = (LogicalAddr::new(1, 1, id), LogicalAddr::new(2, 1, 1));
        Header { hops: 1, ..Header::new(kind, from, to, 7, Incarnation::from_bits(1)) }
    };
    let mut outbox = Outbox::new(BOUNDS);
    let put = |outbox: &mut Outbox, header| put(outbox, Class::Data, header, Millis::NEVER, 206);
    for _ in 0..2 {
        put(&mut outbox, relayed(1, Kind::Message)).unwrap();
    }
    assert_eq!(outbox.passing(), 500);
    let has_room = |outbox: &Outbox, header| outbox.has_room_of_pair(&header, 250);
    assert!(!has_room(&outbox, relayed(1, Kind::Message)));
    assert!(has_room(&outbox, relayed(2, Kind::Message)), "another pair has room");
    put(&mut outbox, relayed(2, Kind::Message)).unwrap();
    assert!(has_room(&outbox, relayed(1, Kind::Reply)), "a reply cannot be made again");
    put(&mut outbox, relayed(1, Kind::Reply)).unwrap();
    assert_eq!(outbox.passing(), 1000);
    // What the writer has taken is no longer the pair's, but still somebody's.
    let (mut batch, mut expired) = (Batch::default(), Vec::new());
    outbox.take(Millis(0), &mut batch, &mut expired);
    assert_eq!(outbox.passing(), 1000);
    batch.advance(100);
    outbox.on_written(batch.left());
    // The session ends with it: what was cut is gone, the rest waits again.
    outbox.end_session(&mut batch);
    assert_eq!(outbox.passing(), 750);
    outbox.drain(false, &mut Vec::new());
    assert_eq!(outbox.passing(), 0);
    put(&mut outbox, relayed(1, Kind::Message)).unwrap();
}
