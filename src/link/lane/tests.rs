use std::task::Wake;

use super::*;
use crate::link::outbox::Class;
use crate::wire::{HEADER_LEN, Kind};

fn request(class: Class, body_len: usize) -> Put {
    let (from, to) = ("1.1.1".parse().unwrap(), "1.1.2".parse().unwrap());
    let header = Header::new(Kind::Request, from, to, 1, Incarnation::from_bits(1));
    let (deadline, extension_len, only_session) = (Millis(5_000), 0, None);
    Put { class, header, deadline, extension_len, body_len, only_session }
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_writer_that_waits_for_enough_frames_is_woken_by_the_last_of_them() {
    let lane = Lane::new(&Config::default(), Arc::default(), Arc::default(), Arc::default());
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let mut batch = Batch::default();
    let put = |n: u64| {
        for _ in 0..n {
            lane.put(request(Class::Data, 0), |_| ()).unwrap();
        }
    };
    for already in [0, 2] {
        put(already);
        assert_eq!(lane.poll_enough(4, &mut cx), Poll::Pending);
        put(3 - already);
        assert_eq!(woken.0.swap(0, Ordering::Relaxed), 0);
        put(1);
        assert_eq!(woken.0.swap(0, Ordering::Relaxed), 1);
        assert_eq!(lane.poll_enough(4, &mut cx), Poll::Ready(()));
        lane.take(Millis(1), &mut batch, &mut Vec::new());
    }
    // It took what there was without waiting on, and is not woken for that any more.
    assert_eq!(lane.poll_enough(2, &mut cx), Poll::Pending);
    lane.take(Millis(1), &mut batch, &mut Vec::new());
    put(2);
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    assert!(lane.poll_ready(&mut batch, || false, &mut cx).is_ready());
}

#[test]
fn p09_a_lane_has_room_as_soon_as_all_that_filled_it_was_taken_back() {
    let config = Config::default();
    let lane = Lane::new(&config, Arc::default(), Arc::default(), Arc::default());
    let put = request(Class::Data, config.outbox_bytes_max / 2);
    let body = |out: &mut Vec<u8>| out.resize(out.len() + put.body_len, 0);
    let position = lane.put(put, body).unwrap();
    assert_eq!(lane.put(put, body), Err(PutError::Full));
    assert!(lane.void(position));
    let (mut batch, mut expired) = (Batch::default(), Vec::new());
    lane.take(Millis(1), &mut batch, &mut expired);
    assert_eq!((batch.left(), expired), (0, Vec::new()));
    lane.put(put, body).unwrap();
}

#[test]
fn p08_frames_of_others_have_no_more_room_together_than_one_by_one() {
    let config = Config { relay_bytes_max: 8_000, ..Config::default() };
    let frame = |len| {
        let mut put = request(Class::Data, len - HEADER_LEN);
        put.header.hops = 1;
        (put, move |out: &mut Vec<u8>| out.resize(out.len() + put.body_len, 0))
    };
    // A lane may have half of seven eighths.
    let frames = [1_000, 1_000, 4_000, 1_000, 1_000, 1_000].map(frame);
    let expected = [(2, PutError::Full), (5, PutError::Full)];
    let lane = || {
        let all = Arc::default();
        (Lane::new(&config, Arc::clone(&all), Arc::default(), Arc::default()), all)
    };
    let (alone, all_alone) = lane();
    let outcomes = frames.iter().enumerate().map(|(n, (put, body))| (n, alone.put(*put, body)));
    let refused: Vec<_> = outcomes.filter_map(|(n, outcome)| Some((n, outcome.err()?))).collect();
    assert_eq!(refused, expected);

    let (together, all_together) = lane();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut batch = Batch::default();
    assert!(
        together.poll_ready(&mut batch, || false, &mut Context::from_waker(&waker)).is_pending()
    );
    assert_eq!(together.put_all(frames.into_iter()), expected);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    let bytes = [all_alone, all_together].map(|all: Arc<AtomicUsize>| all.load(Ordering::Relaxed));
    assert_eq!(bytes, [4_000, 4_000]);
}
