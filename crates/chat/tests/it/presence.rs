//! Who is present in rooms: reports of gateways, leases, counts and pages.

use std::time::Duration;

use turnpike_event::RoomEvent;
use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::{Database, eventually, on_both};
use uuid::Uuid;

use crate::{
    guest::{Guest, events, published, topic},
    world::World,
};

on_both!(
    a_user_with_several_connections_on_two_gateways_is_present_once,
    a_gateway_without_a_lease_takes_its_users_along,
    presence_survives_a_restart_of_this_service,
    who_may_not_see_the_room_or_has_no_valid_token_is_refused,
    counts_and_pages_of_a_large_room,
);

struct Gateway {
    id: String,
    begun: bool,
}

impl Gateway {
    fn new() -> Self {
        Self { id: Uuid::now_v7().to_string(), begun: false }
    }

    async fn report(&mut self, by: &Guest, entries: Vec<pb::PresenceEntry>) -> pb::ReportPresenceResponse {
        let begin = !std::mem::replace(&mut self.begun, true);
        let request = pb::ReportPresenceRequest { gateway_id: self.id.clone(), entries, begin, leaving: false };
        by.report_presence(request).await.expect("reported")
    }
}

fn entry(room: &str, guest: &Guest, connections: u32) -> pb::PresenceEntry {
    pb::PresenceEntry {
        room_id: room.into(),
        user_id: guest.id(),
        connections,
        access_token: if connections > 0 { guest.person.token.expose().to_owned() } else { String::new() },
        ..Default::default()
    }
}

async fn present(guest: &Guest, room: &str) -> Vec<(String, u32)> {
    let list = pb::ListPresentRequest { room_id: room.into(), ..Default::default() };
    let users = guest.list_present(list).await.expect("a list").users;
    users.into_iter().map(|user| (user.user_id, user.connections)).collect()
}

/// `user_joined` and `user_left` of a room, and the users they are about.
async fn changes(world: &World, room: &str) -> Vec<(bool, String)> {
    let presence = |event| match event {
        RoomEvent::Presence { user_id, present, .. } => Some((present, user_id.to_string())),
        _ => None,
    };
    events(&world.bus, topic(room)).await.into_iter().filter_map(|(_, event)| presence(event)).collect()
}

async fn a_user_with_several_connections_on_two_gateways_is_present_once(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let room = ada.room("public").await;
    let (mut one, mut two) = (Gateway::new(), Gateway::new());
    one.report(&ada, vec![entry(&room, &ada, 2), entry(&room, &bob, 1)]).await;
    two.report(&ada, vec![entry(&room, &ada, 1)]).await;
    let mut expected = vec![(ada.id(), 3), (bob.id(), 1)];
    expected.sort();
    assert_eq!(present(&ada, &room).await, expected);
    let stats = ada.get_room_stats(Default::default()).await.expect("numbers");
    assert_eq!((stats.total_users, stats.total_connections, stats.rooms[&room]), (2, 4, 2));
    one.report(&ada, vec![entry(&room, &ada, 0)]).await;
    assert_eq!(present(&bob, &room).await.iter().find(|(id, _)| *id == ada.id()).map(|user| user.1), Some(1));
    two.report(&ada, vec![entry(&room, &ada, 0)]).await;
    two.report(&ada, vec![entry(&room, &ada, 0)]).await; // a repeated report changes nothing
    assert_eq!(present(&bob, &room).await, [(bob.id(), 1)]);
    published(&world, topic(&room), 3).await;
    let mut joined = changes(&world, &room).await;
    assert_eq!(joined.pop(), Some((false, ada.id())));
    joined.sort();
    let mut both = vec![(true, ada.id()), (true, bob.id())];
    both.sort();
    assert_eq!(joined, both, "each user joins once");
}

async fn a_gateway_without_a_lease_takes_its_users_along(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let room = ada.room("public").await;
    let (mut killed, mut alive) = (Gateway::new(), Gateway::new());
    killed.report(&ada, vec![entry(&room, &ada, 1), entry(&room, &bob, 1)]).await;
    alive.report(&ada, vec![entry(&room, &ada, 1)]).await;
    eventually("the killed gateway's users to leave", 20, || async {
        world.hand.advance(Duration::from_millis(500));
        assert!(!alive_reports(&ada, &alive.id).await, "a gateway that reports keeps its lease");
        (present(&ada, &room).await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(present(&ada, &room).await, [(ada.id(), 1)]);
    let events = published(&world, topic(&room), 3).await;
    assert!(
        matches!(&events[2].1, RoomEvent::Presence { user_id, present: false, .. } if *user_id == bob.person.user_id)
    );
    assert!(killed.report(&ada, vec![entry(&room, &bob, 1)]).await.unknown, "it must begin again");
    assert_eq!(present(&ada, &room).await, [(ada.id(), 1)], "and nothing was taken");
    let mut again = Gateway::new();
    assert!(!again.report(&ada, vec![entry(&room, &bob, 1)]).await.unknown);
    assert_eq!(present(&ada, &room).await.len(), 2);
}

/// Renews the lease of a gateway. Returns whether it had none.
async fn alive_reports(by: &Guest, gateway: &str) -> bool {
    let renewal = pb::ReportPresenceRequest { gateway_id: gateway.to_owned(), ..Default::default() };
    by.report_presence(renewal).await.expect("reported").unknown
}

async fn presence_survives_a_restart_of_this_service(database: Database) {
    let world = World::new(database);
    let first = world.start().await;
    let ada = Guest::new(&world, &first);
    let room = ada.room("public").await;
    let mut gateway = Gateway::new();
    gateway.report(&ada, vec![entry(&room, &ada, 1)]).await;
    published(&world, topic(&room), 1).await;
    first.kill();
    world.hand.advance(Duration::from_secs(60)); // longer than the lease
    let second = world.start().await;
    let ada = ada.at(&second);
    assert!(!gateway.report(&ada, vec![]).await.unknown, "no instance could renew the lease meanwhile");
    assert_eq!(present(&ada, &room).await.len(), 1);
    assert_eq!(changes(&world, &room).await, [(true, ada.id())]);
}

async fn who_may_not_see_the_room_or_has_no_valid_token_is_refused(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let (ada, bob) = (Guest::new(&world, &instance), Guest::new(&world, &instance));
    let room = ada.room("private").await;
    let mut gateway = Gateway::new();
    let mut stolen = entry(&room, &ada, 1);
    stolen.access_token = bob.person.token.expose().to_owned();
    let mut forged = entry(&room, &ada, 1);
    forged.access_token.push('x');
    for entry in [entry(&room, &bob, 1), stolen, forged] {
        let refused = gateway.report(&ada, vec![entry.clone()]).await.refused;
        assert_eq!((refused.len(), &refused[0].user_id), (1, &entry.user_id));
        assert!(refused[0].access_token.is_empty());
    }
    assert!(present(&ada, &room).await.is_empty());
    ada.put(&room, &bob.id(), "").await.expect("added");
    assert!(gateway.report(&ada, vec![entry(&room, &bob, 1)]).await.refused.is_empty());
    let members = pb::ListMembersRequest { room_id: room.clone(), ..Default::default() };
    let members = ada.list_members(members).await.expect("a list").members;
    assert!(members.iter().all(|member| member.username.starts_with("user-")), "the name is known now");
    ada.remove(&room, &bob.id()).await.expect("removed");
    let refused = gateway.report(&ada, vec![entry(&room, &bob, 1)]).await.refused;
    assert_eq!(refused.len(), 1, "a report of a user who was removed meanwhile");
}

async fn counts_and_pages_of_a_large_room(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let ada = Guest::new(&world, &instance);
    let room = ada.room("public").await;
    let rows = (0..10_000).map(|n| format!("('g', '{room}', '01900000-0000-7000-8000-{n:012}', 'u{n}', 1, 1, 1)"));
    for part in rows.collect::<Vec<_>>().chunks(1000) {
        world.execute(&format!("INSERT INTO presence VALUES {}", part.join(","))).await;
    }
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let list = pb::ListPresentRequest { room_id: room.clone(), limit: 100, cursor };
        let page = ada.list_present(list).await.expect("a page");
        assert_eq!(page.total, 10_000);
        for user in &page.users {
            assert_eq!(user.user_id, format!("01900000-0000-7000-8000-{seen:012}"));
            seen += 1;
        }
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 10_000);
}
