//! The account of a sender whose connection is cut behind each byte that it writes.

use bytes::{BufMut, BytesMut};

use super::*;
use crate::addr::LogicalAddr;
use crate::clock::Millis;
use crate::incarnation::Incarnation;
use crate::link::outbox::{Batch, Bounds, Outbox};
use crate::wire::{FrameLimits, HEADER_LEN, Header, Kind, decode};

const MESSAGES: u64 = 1_000;
/// As many are put before the writer takes them.
const BURST: u64 = 20;
const SESSION: u64 = 7;
const BODY_LEN: usize = 8;
const LEN: usize = HEADER_LEN + BODY_LEN;

#[derive(Clone)]
struct Sender {
    outbox: Outbox,
    batch: Batch,
    accepted: u64,
}

impl Sender {
    fn new() -> Self {
        let mut outbox =
            Outbox::new(Bounds { bytes_max: 1 << 20, reserve: 0, pair_bytes_max: 1 << 20 });
        outbox.begin_session(Incarnation::from_bits(1), usize::MAX, &mut Vec::new());
        Self { outbox, batch: Batch::default(), accepted: 0 }
    }

    fn accept(&mut self) {
        let (from, to) = (LogicalAddr::new(1, 1, 1), LogicalAddr::new(1, 1, 2));
        let header = Header::new(Kind::Message, from, to, self.accepted, Incarnation::from_bits(1));
        let body = self.accepted.to_be_bytes();
        let put = self.outbox.put(header, Millis::NEVER, (0, BODY_LEN), |out| {
            out.extend_from_slice(&body);
        });
        put.unwrap();
        self.accepted += 1;
    }

    /// Writes one byte more, if there is one.
    fn write(&mut self) -> Option<u8> {
        if self.batch.chunk().is_empty() && self.accepted < MESSAGES {
            (0..BURST).for_each(|_| self.accept());
            self.outbox.take(Millis(0), &mut self.batch, &mut Vec::new());
        }
        let byte = *self.batch.chunk().first()?;
        self.batch.advance(1);
        self.outbox.on_written(self.batch.left());
        Some(byte)
    }
}

/// What a receiver has done, by how many bytes of the stream it got. It sends some back.
fn received(stream: &[u8]) -> Vec<Counts> {
    let mut counts = Counts { session: SESSION, ..Counts::default() };
    let (mut buffer, mut by_bytes) = (BytesMut::new(), vec![counts]);
    let limits = FrameLimits { body_bytes_max: BODY_LEN };
    for byte in stream {
        buffer.put_u8(*byte);
        if let Ok(frame) = decode(&mut buffer, limits).unwrap() {
            let done =
                if frame.header.id % 50 == 7 { &mut counts.bounced } else { &mut counts.handled };
            *done += 1;
        }
        by_bytes.push(counts);
    }
    by_bytes
}

/// The connection breaks when so many bytes are written; `arrived` bounces come before that, and
/// the others behind it.
fn cut(mut sender: Sender, written: usize, receiver: Counts, arrived: u64) {
    let handed = sender.outbox.end_session(&mut sender.batch);
    let one_way = usize::try_from(handed.one_way).unwrap();
    assert_eq!(one_way, written.div_ceil(LEN), "{written} bytes are written");
    assert_eq!(handed.below, (one_way * LEN) as u64, "what is not handed waits");
    assert_eq!(one_way + sender.outbox.waiting() / LEN, usize::try_from(sender.accepted).unwrap());

    let mut account = Account::default();
    account.begin(SESSION);
    (0..arrived).for_each(|_| assert!(account.on_bounce(SESSION)));
    let at_most = account.end(handed.one_way).map_or(0, |loss| loss.at_most);
    let lost = account.settle(receiver).map_or(0, |loss| loss.exactly.unwrap());
    (arrived..receiver.bounced).for_each(|_| assert!(account.on_bounce(SESSION)));
    assert!(!account.on_bounce(SESSION), "a bounce more than there were");
    assert_eq!(receiver.handled + receiver.bounced + lost, handed.one_way);
    assert!(lost <= at_most, "{lost} are lost, at most {at_most} were told");
}

#[test]
fn p03_cut_behind_any_byte_of_a_thousand_messages_the_sum_is_exact() {
    let mut sender = Sender::new();
    let stream: Vec<_> = std::iter::from_fn(|| sender.write()).collect();
    assert_eq!(stream.len(), LEN * usize::try_from(MESSAGES).unwrap());
    let received = received(&stream);
    assert_eq!(received.last().map(|counts| (counts.handled, counts.bounced)), Some((980, 20)));

    let mut sender = Sender::new();
    for written in 0..=stream.len() {
        // What was on its way is lost with the connection: nothing, some, or all.
        for on_its_way in [0, written % 1009, written] {
            let receiver = received[written - on_its_way];
            cut(sender.clone(), written, receiver, 0);
            cut(sender.clone(), written, receiver, receiver.bounced);
        }
        sender.write();
    }
}
