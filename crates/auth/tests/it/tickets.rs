//! Limits of tickets.

use tokio::task::JoinSet;
use tonic::{Code, Status};
use turnpike_fault::Fault;
use turnpike_proto::auth::v1 as pb;
use turnpike_testkit::Database;

use crate::harness::Harness;

turnpike_testkit::on_both!(
    a_user_has_twenty_open_tickets,
    parallel_requests_do_not_exceed_the_limit,
    sixty_tickets_a_minute
);

#[track_caller]
fn limited_for(answer: Result<String, Status>) -> u64 {
    let Err(status) = answer else { panic!("not refused") };
    let fault = Fault::from(&status);
    assert_eq!((status.code(), fault.code()), (Code::ResourceExhausted, "RATE_LIMITED"), "{status:?}");
    fault.retry_in().expect("when to try again").as_secs()
}

async fn a_user_has_twenty_open_tickets(database: Database) {
    let harness = Harness::new(&database).await;
    harness.create("ada", pb::Role::User).await;
    let (admin, again, ada) = (harness.admin().await, harness.admin().await, harness.enter("ada").await);
    let first = admin.ticket().await.expect("a ticket");
    harness.pass(10);
    for n in 1..20 {
        // Sessions of one user share the limit.
        if n % 2 == 0 { &admin } else { &again }.ticket().await.expect("a ticket");
    }
    assert_eq!(limited_for(admin.ticket().await), 20, "until the oldest expires");
    assert_eq!(limited_for(again.ticket().await), 20);
    ada.ticket().await.expect("another user");
    harness.redeem(&first).await.expect("still good");
    admin.ticket().await.expect("a used ticket is not open");
    limited_for(admin.ticket().await);
    harness.pass(30);
    admin.ticket().await.expect("an expired ticket is not open");
}

async fn parallel_requests_do_not_exceed_the_limit(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let (mut client, request) = (admin.client(), admin.access.request(pb::CreateTicketRequest {}));
        requests.spawn(async move { client.create_ticket(request).await.is_ok() });
    }
    let got = requests.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(got, 20);
}

async fn sixty_tickets_a_minute(database: Database) {
    let harness = Harness::new(&database).await;
    let admin = harness.admin().await;
    for _ in 0..60 {
        let ticket = admin.ticket().await.expect("a ticket");
        harness.redeem(&ticket).await.expect("a good one");
    }
    assert_eq!(limited_for(admin.ticket().await), 1);
    harness.pass(1);
    admin.ticket().await.expect("one each second");
}
