//! Which channels are joined and left, and what a follower receives.

use turnpike_topic::RoomId;
use uuid::Uuid;

use super::*;

fn topic(n: u128) -> Topic {
    Topic::Room(RoomId::from(Uuid::from_u128(n)))
}

#[test]
fn a_channel_is_joined_once_for_many_followers_and_left_with_the_last_one() {
    let followed = FollowedTopics::by_server();
    let first = followed.signals(topic(1));
    let second = followed.signals(topic(1));
    let changes = followed.take_changes(10).expect("a topic to subscribe to");
    assert_eq!((changes.subscribe, changes.unsubscribe), (vec![topic(1)], vec![]));
    assert!(!second.are_confirmed());
    followed.confirm(&[topic(1)]);
    assert!(second.are_confirmed());

    drop(first);
    assert!(followed.take_changes(10).is_none());
    drop(second);
    let changes = followed.take_changes(10).expect("a topic to leave");
    assert_eq!((changes.subscribe, changes.unsubscribe), (vec![], vec![topic(1)]));
    assert!(followed.topics().is_empty());
}

#[test]
fn a_topic_that_is_followed_again_at_once_keeps_its_channel() {
    let followed = FollowedTopics::by_server();
    let first = followed.signals(topic(1));
    followed.take_changes(10);
    followed.confirm(&[topic(1)]);
    drop(first);
    let again = followed.signals(topic(1));
    let changes = followed.take_changes(10).expect("a topic that was touched");
    assert!(changes.subscribe.is_empty() && changes.unsubscribe.is_empty());
    assert!(again.are_confirmed());
}

#[test]
fn after_a_lost_connection_all_channels_are_joined_again() {
    let followed = FollowedTopics::by_server();
    let all: Vec<_> = (0..5).map(|n| followed.signals(topic(n))).collect();
    while let Some(changes) = followed.take_changes(2) {
        assert!(changes.subscribe.len() <= 2, "a batch has its size");
        followed.confirm(&changes.subscribe);
    }
    followed.unconfirm_all();
    assert!(all.iter().all(|signals| !signals.are_confirmed()));
    assert_eq!(followed.take_changes(10).map(|changes| changes.subscribe.len()), Some(5));
}

#[tokio::test]
async fn a_follower_that_falls_behind_has_to_read_history() {
    let followed = FollowedTopics::at_once();
    let mut slow = followed.signals(topic(1));
    for n in 0..=BACKLOG {
        followed.send(&topic(1), Signal::Record(Bytes::from(vec![u8::try_from(n).expect("small")])));
    }
    assert!(matches!(slow.next().await, Signal::ReadHistory));
    assert!(matches!(slow.next().await, Signal::Record(bytes) if bytes[0] == 1));
}

#[tokio::test]
async fn a_head_is_sent_when_it_changes() {
    let followed = FollowedTopics::at_once();
    let mut follower = followed.signals(topic(1));
    let head = Some(Offset { epoch: 1, n: 1 });
    followed.send_head(&topic(1), None);
    followed.send_head(&topic(1), None);
    followed.send_head(&topic(1), head);
    assert!(matches!(follower.next().await, Signal::Head(None)));
    assert!(matches!(follower.next().await, Signal::Head(sent) if sent == head));
}
