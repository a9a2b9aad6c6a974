use super::*;

fn problem(text: &str) -> Event {
    Event::Problem(text.to_owned())
}

#[tokio::test]
async fn events_come_in_order_and_the_end_comes_last() {
    let (sender, mut watch) = Watch::channel(2);
    sender.send(problem("a")).await.unwrap();
    sender.send(problem("b")).await.unwrap();
    drop(sender);
    assert_eq!(watch.next().await, Some(problem("a")));
    assert_eq!(watch.next().await, Some(problem("b")));
    assert_eq!(watch.next().await, None);
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_dropped_watch_is_known_to_the_engine() {
    let (sender, watch) = Watch::channel(0);
    drop(watch);
    sender.closed().await;
    assert_eq!(sender.send(problem("a")).await, Err(WatchClosed));
}

#[tokio::test]
async fn a_full_way_makes_the_engine_wait() {
    let (sender, mut watch) = Watch::channel(1);
    sender.send(problem("a")).await.unwrap();
    let (sent, first) = tokio::join!(biased; sender.send(problem("b")), watch.next());
    assert_eq!((sent, first), (Ok(()), Some(problem("a"))));
    assert_eq!(watch.next().await, Some(problem("b")));
}
