use super::*;

fn request(class: Class, body_len: usize) -> Put {
    let (from, to) = ("1.1.1".parse().unwrap(), "1.1.2".parse().unwrap());
    let header = Header::new(Kind::Request, from, to, 1, Incarnation::from_bits(1));
    let (deadline, extension_len, only_session) = (Millis(5_000), 0, None);
    Put { class, header, deadline, extension_len, body_len, only_session }
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
