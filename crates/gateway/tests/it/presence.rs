//! What a gateway reports to the chat service about the users of rooms.

use turnpike_fault::{Fault, Kind};
use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::eventually;
use turnpike_token::Role;

use crate::{
    gateway::Gateway,
    rooms::{ROOM, enter, gateway},
    sockets::closed,
};

/// The entries of all reports, as (user, connections), in order.
fn reported(gateway: &Gateway) -> Vec<(String, u32)> {
    let reports = gateway.chat.received::<pb::ReportPresenceRequest>();
    reports.into_iter().flat_map(|report| report.entries).map(|entry| (entry.user_id, entry.connections)).collect()
}

async fn until_reported(gateway: &Gateway, user: &str, connections: u32) {
    let last = async || {
        let entries = reported(gateway);
        entries.iter().rfind(|(id, _)| id == user).is_some_and(|(_, count)| *count == connections).then_some(())
    };
    eventually(&format!("a report of {connections} connections"), 10, last).await;
}

#[tokio::test]
async fn a_user_with_three_sockets_is_one_entry_and_reports_have_changes_only() {
    let gateway = gateway(&[]).await;
    let (ada, bob) = (gateway.caller(Role::User), gateway.caller(Role::User));
    let mut hers = Vec::new();
    for n in 1..=3 {
        hers.push(enter(&gateway, &ada).await);
        until_reported(&gateway, ada.id(), n).await;
    }
    let entered = gateway.chat.received::<pb::ReportPresenceRequest>();
    let entry = entered.iter().flat_map(|report| &report.entries).next_back().expect("an entry");
    assert_eq!((entry.room_id.as_str(), entry.access_token.as_str()), (ROOM, ada.token.as_str()));
    assert!(entry.connected_at.is_some() && entry.last_seen.is_some());
    // The next change is the only entry of its report, and reports without changes renew the lease.
    let before = reported(&gateway).len();
    let his = enter(&gateway, &bob).await;
    until_reported(&gateway, bob.id(), 1).await;
    assert_eq!(reported(&gateway)[before..], [(bob.id().to_owned(), 1)], "not the members that stay");
    let renewed = async || {
        let reports = gateway.chat.received::<pb::ReportPresenceRequest>();
        reports.last().is_some_and(|report| report.entries.is_empty() && !report.begin).then_some(())
    };
    eventually("a report without entries", 10, renewed).await;
    hers.pop().expect("a socket").close().await;
    until_reported(&gateway, ada.id(), 2).await;
    hers.into_iter().for_each(turnpike_testkit::Socket::abort);
    until_reported(&gateway, ada.id(), 0).await;
    drop(his);
    until_reported(&gateway, bob.id(), 0).await;
}

#[tokio::test]
async fn a_report_that_fails_is_repeated_and_a_lost_lease_reports_everything() {
    let gateway = gateway(&[]).await;
    let (ada, bob) = (gateway.caller(Role::User), gateway.caller(Role::User));
    let _hers = enter(&gateway, &ada).await;
    until_reported(&gateway, ada.id(), 1).await;
    let away = Fault::new(Kind::Unavailable, "away");
    gateway.chat.fail::<pb::ReportPresenceRequest, pb::ReportPresenceResponse>(away);
    let _his = enter(&gateway, &bob).await;
    until_reported(&gateway, bob.id(), 1).await;
    let tries = async || {
        let entries = reported(&gateway);
        (entries.iter().filter(|(user, _)| user == bob.id()).count() >= 3).then_some(())
    };
    eventually("the report to be repeated", 10, tries).await;
    // The chat service has given the gateway up, and forgets the report that says so.
    let first = gateway.chat.received::<pb::ReportPresenceRequest>()[0].gateway_id.clone();
    let known = first.clone();
    gateway.chat.respond_with(move |report: &pb::ReportPresenceRequest| {
        Ok(pb::ReportPresenceResponse { unknown: report.gateway_id == known, refused: Vec::new() })
    });
    let again = async || {
        let reports = gateway.chat.received::<pb::ReportPresenceRequest>();
        let new: Vec<_> = reports.iter().filter(|report| report.gateway_id != first).collect();
        let users: std::collections::BTreeSet<_> =
            new.iter().flat_map(|report| &report.entries).map(|entry| entry.user_id.as_str()).collect();
        (new.first().is_some_and(|report| report.begin) && users == [ada.id(), bob.id()].into()).then_some(())
    };
    eventually("everything to be reported under a new id", 10, again).await;
}

#[tokio::test]
async fn a_user_who_may_not_see_the_room_any_more_loses_it() {
    let gateway = gateway(&[]).await;
    let (ada, bob) = (gateway.caller(Role::User), gateway.caller(Role::User));
    let mut hers = enter(&gateway, &ada).await;
    let excluded = bob.id().to_owned();
    gateway.chat.respond_with(move |report: &pb::ReportPresenceRequest| {
        let refused = report.entries.iter().filter(|entry| entry.user_id == excluded).cloned().collect();
        Ok(pb::ReportPresenceResponse { unknown: false, refused })
    });
    let mut his = enter(&gateway, &bob).await;
    assert_eq!(his.next().await, closed(1008, "Not found"));
    hers.send(serde_json::json!({ "type": "heartbeat" })).await;
    hers.frame_of(&["heartbeat_ack"]).await;
}
