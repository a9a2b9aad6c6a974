//! The outbox against a list of frames, in any order of events.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Put { kind: u8, body_len: usize, ttl: Option<u64> },
    Void { which: usize },
    Take,
    Write { n: usize },
    Sweep,
    Drain,
    Begin { is_reborn: bool },
    End,
    Pass { ms: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let ttl = prop_oneof![1 => Just(None), 3 => (1..200_u64).prop_map(Some)];
    prop_oneof![
        8 => (0..7_u8, 8..120_usize, ttl)
            .prop_map(|(kind, body_len, ttl)| Op::Put { kind, body_len, ttl }),
        2 => any::<usize>().prop_map(|which| Op::Void { which }),
        3 => Just(Op::Take),
        4 => (1..300_usize).prop_map(|n| Op::Write { n }),
        1 => Just(Op::Sweep),
        1 => Just(Op::Drain),
        2 => any::<bool>().prop_map(|is_reborn| Op::Begin { is_reborn }),
        2 => Just(Op::End),
        3 => (1..60_u64).prop_map(|ms| Op::Pass { ms }),
    ]
}

/// What became of a frame. Each ends in exactly one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    /// In the writer's batch.
    Taken,
    Handed,
    Voided,
    Expired,
    Drained,
    /// It belonged to a session that is over.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    position: u64,
    kind: Kind,
    is_one_way: bool,
    deadline: Millis,
    len: usize,
    fate: Fate,
}

struct Model {
    outbox: Outbox,
    batch: Batch,
    now: Millis,
    incarnation: Incarnation,
    is_up: bool,
    /// By id.
    known: Vec<Known>,
    /// Ids in the order in which they are to leave.
    waiting: VecDeque<usize>,
    /// Ids in the writer's batch, with how much of each is still to be written.
    taken: VecDeque<(usize, usize)>,
    taken_at: Millis,
    handed_in_session: Vec<usize>,
    /// What the session has written: bytes, and the frames that they are to be.
    written: Vec<u8>,
    expected: Vec<(u64, u32)>,
}

impl Model {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(BOUNDS),
            batch: Batch::default(),
            now: Millis(0),
            incarnation: Incarnation::from_bits(1),
            is_up: false,
            known: Vec::new(),
            waiting: VecDeque::new(),
            taken: VecDeque::new(),
            taken_at: Millis(0),
            handed_in_session: Vec::new(),
            written: Vec::new(),
            expected: Vec::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Put { kind, body_len, ttl } => self.put(kind, body_len, ttl),
            Op::Void { which } => self.void(which),
            Op::Take => self.take(),
            Op::Write { n } => self.write(n),
            Op::Sweep => self.sweep(),
            Op::Drain => self.drain(),
            Op::Begin { is_reborn } => self.begin(is_reborn),
            Op::End => self.end(),
            Op::Pass { ms } => self.now = self.now.after(ms),
        }
        self.check();
    }

    fn put(&mut self, number: u8, body_len: usize, ttl: Option<u64>) {
        let (kind, class) = match number {
            0 | 1 => (Kind::Message, Class::Data),
            2 | 3 => (Kind::Request, Class::Data),
            4 => (Kind::Reply, Class::Data),
            5 => (Kind::Pong, Class::Control),
            _ => (Kind::Cancel, Class::Cancel),
        };
        let id = self.known.len();
        let mut header = header(kind, id as u64);
        header.incarnation = self.incarnation;
        header.flags = if number == 3 { FLAG_NO_REPLY } else { 0 };
        let deadline = ttl.map_or(Millis::NEVER, |ttl| self.now.after(ttl));
        let len = HEADER_LEN + body_len;
        let queued = self.outbox.queued();
        let expected = match class {
            Class::Data if queued > 0 && queued + len > 1000 => Err(Rejected::Full),
            Class::Control if queued + len > 1200 => Err(Rejected::Overflow),
            _ => Ok(self.outbox.next_position()),
        };
        let put = put(&mut self.outbox, class, header, deadline, body_len);
        assert_eq!(put, expected);
        if let Ok(position) = put {
            let is_one_way = header.is_one_way();
            let fate = Fate::Waiting;
            self.known.push(Known { position, kind, is_one_way, deadline, len, fate });
            self.waiting.push_back(id);
        }
    }

    fn void(&mut self, which: usize) {
        if self.known.is_empty() {
            return;
        }
        let id = which % self.known.len();
        let is_waiting = self.known[id].fate == Fate::Waiting;
        // Of a frame that left otherwise it may say either, unless the kernel may have it.
        let is_unsent = self.outbox.void(self.known[id].position);
        assert!(is_unsent || !is_waiting, "frame {id} waits and is not taken back");
        let is_gone = matches!(self.known[id].fate, Fate::Taken | Fate::Handed);
        assert!(!(is_unsent && is_gone), "frame {id} may be sent");
        if is_waiting {
            self.known[id].fate = Fate::Voided;
            self.waiting.retain(|waiting| *waiting != id);
        }
    }

    fn take(&mut self) {
        if !self.is_up || !self.taken.is_empty() {
            return;
        }
        let mut expired = Vec::new();
        let was_waiting = self.outbox.waiting();
        self.outbox.take(self.now, &mut self.batch, &mut expired);
        assert!(was_waiting == 0 || self.outbox.waiting() < was_waiting, "a take leads on");
        self.taken_at = self.now;
        // Frames leave from the front; how many at once is the outbox's own affair.
        let mut expected = Vec::new();
        for _ in 0..self.batch.frames as usize + expired.len() {
            let id = self.waiting.pop_front().unwrap();
            let known = &mut self.known[id];
            if known.deadline <= self.now {
                known.fate = Fate::Expired;
                expected.push(id);
            } else {
                known.fate = Fate::Taken;
                self.taken.push_back((id, known.len));
            }
        }
        self.check_unsent(&expired, &expected);
        assert_eq!(self.batch.frames as usize, self.taken.len());
    }

    fn write(&mut self, n: usize) {
        let bytes = write(&mut self.outbox, &mut self.batch, n);
        self.written.extend_from_slice(&bytes);
        let mut n = bytes.len();
        while n > 0 {
            let (id, left) = self.taken.front_mut().unwrap();
            let known = &mut self.known[*id];
            if *left == known.len {
                known.fate = Fate::Handed;
                self.handed_in_session.push(*id);
                let time_left = match known.deadline {
                    Millis::NEVER => NO_DEADLINE,
                    deadline => u32::try_from(deadline.since(self.taken_at)).unwrap(),
                };
                self.expected.push((*id as u64, time_left));
            }
            let part = n.min(*left);
            n -= part;
            *left -= part;
            if *left == 0 {
                self.taken.pop_front();
            }
        }
    }

    fn sweep(&mut self) {
        let mut expired = Vec::new();
        let is_due = self.outbox.earliest_deadline() <= self.now;
        self.outbox.sweep(self.now, &mut expired);
        let mut expected = Vec::new();
        if is_due {
            let (known, now) = (&mut self.known, self.now);
            self.waiting.retain(|id| {
                let is_expired = known[*id].deadline <= now;
                if is_expired {
                    known[*id].fate = Fate::Expired;
                    expected.push(*id);
                }
                !is_expired
            });
        }
        self.check_unsent(&expired, &expected);
    }

    fn drain(&mut self) {
        let mut drained = Vec::new();
        self.outbox.drain(false, &mut drained);
        let expected = self.remove(Fate::Drained, true);
        self.check_unsent(&drained, &expected);
    }

    fn begin(&mut self, is_reborn: bool) {
        if self.is_up {
            return;
        }
        self.is_up = true;
        if is_reborn {
            self.incarnation = self.incarnation.next();
        }
        self.outbox.begin_session(self.incarnation, usize::MAX, &mut Vec::new());
    }

    fn end(&mut self) {
        if !self.is_up {
            return;
        }
        self.is_up = false;
        let handed = self.outbox.end_session(&mut self.batch);
        self.check_written();
        let one_way = self.handed_in_session.iter().filter(|id| self.known[**id].is_one_way);
        assert_eq!(handed.one_way, one_way.count() as u64);
        // The frame that was cut is handed; the others wait again, in front.
        for (id, left) in self.taken.drain(..).rev() {
            if left == self.known[id].len {
                self.known[id].fate = Fate::Waiting;
                self.waiting.push_front(id);
            }
        }
        self.handed_in_session.clear();
        self.remove(Fate::Dropped, false);
        for (id, known) in self.known.iter().enumerate() {
            match known.fate {
                Fate::Handed => assert!(known.position < handed.below, "frame {id} was handed"),
                Fate::Waiting => assert!(known.position >= handed.below, "frame {id} was not"),
                _ => {}
            }
        }
    }

    /// Removes from those that wait the messages and requests, or all others.
    fn remove(&mut self, fate: Fate, lasting: bool) -> Vec<usize> {
        let known = &mut self.known;
        let mut removed = Vec::new();
        self.waiting.retain(|id| {
            let is_lasting = matches!(known[*id].kind, Kind::Message | Kind::Request);
            if is_lasting == lasting {
                known[*id].fate = fate;
                removed.push(*id);
            }
            is_lasting != lasting
        });
        removed
    }

    /// What the session has written is what was taken, in order, with the time that was left.
    fn check_written(&mut self) {
        let (whole, over) = frames(&self.written);
        let is_cut = self.taken.front().is_some_and(|(id, left)| *left < self.known[*id].len);
        assert_eq!(whole.len() + usize::from(is_cut), self.expected.len());
        assert_eq!(over > 0, is_cut);
        assert_eq!(whole[..], self.expected[..whole.len()]);
        self.written.clear();
        self.expected.clear();
    }

    fn check_unsent(&self, unsent: &[Unsent], expected: &[usize]) {
        let ids: Vec<_> = unsent.iter().map(|unsent| unsent.header.id).collect();
        let expected: Vec<_> = expected.iter().map(|id| *id as u64).collect();
        assert_eq!(ids, expected);
        for unsent in unsent {
            let is_request = unsent.header.kind == Kind::Request;
            assert_eq!(unsent.method, if is_request { unsent.header.id } else { 0 });
        }
    }

    /// What holds at all times.
    fn check(&self) {
        let waiting = self.waiting.iter().map(|id| self.known[*id].len).sum::<usize>();
        assert!(self.outbox.waiting() >= waiting, "a frame is lost");
        let left: usize = self.taken.iter().map(|(_, left)| left).sum();
        assert_eq!(self.outbox.queued() - self.outbox.waiting(), left);
        let first = self.waiting.iter().map(|id| self.known[*id].deadline).min();
        if let Some(first) = first {
            // A sweep that left some behind is not repeated at once.
            assert!(self.outbox.earliest_deadline() <= first.after(SWEEP_MS));
        }
        for (id, known) in self.known.iter().enumerate() {
            if self.is_up && matches!(known.fate, Fate::Taken | Fate::Handed) {
                let is_of_session =
                    known.fate == Fate::Taken || self.handed_in_session.contains(&id);
                assert_eq!(self.outbox.is_of_session(known.position), is_of_session, "frame {id}");
            }
        }
    }

    /// Lets all that still waits leave, and looks for frames that are nowhere.
    fn finish(mut self) {
        self.end();
        self.begin(false);
        while self.outbox.waiting() > 0 {
            self.apply(&Op::Take);
            self.apply(&Op::Write { n: usize::MAX });
        }
        self.end();
        for (id, known) in self.known.iter().enumerate() {
            assert!(!matches!(known.fate, Fate::Waiting | Fate::Taken), "frame {id} is lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn p03_each_frame_ends_in_exactly_one_place(ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.finish();
    }
}
