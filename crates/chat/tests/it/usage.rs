//! The ledger of tokens, and budgets.

use std::time::Duration;

use serde_json::json;
use turnpike_fault::Kind;
use turnpike_proto::chat::v1::GetUsageRequest;
use turnpike_testkit::{Database, eventually, on_both};
use turnpike_token::Role;

use crate::{
    fake::{Fake, MODEL, Plan, Step, finish, role, text},
    model_caller::{Caller, Endpoint, question},
    world::World,
};

on_both!(
    the_ledger_equals_what_the_server_counted,
    uncounted_tokens_are_estimates,
    budgets_are_checked_and_renew,
    an_api_key_has_a_budget_of_its_own,
);

fn with(database: Database, fake: &Fake) -> World {
    World::new(database).with("TURNPIKE_LLM_URL", fake.url())
}

/// Requests, prompt tokens, completion tokens and estimated tokens of the day, once there are as many requests.
async fn day(caller: &Caller, requests: u64) -> (u64, u64, u64) {
    eventually("the ledger", 30, || async {
        let days = caller.usage(GetUsageRequest::default()).await.expect("usage").days;
        let sum = |number: fn(&turnpike_proto::chat::v1::UsageOfDay) -> u64| days.iter().map(number).sum::<u64>();
        let counted = sum(|day| day.requests);
        assert!(counted <= requests, "{days:?}");
        (counted == requests)
            .then(|| (sum(|day| day.prompt_tokens), sum(|day| day.completion_tokens), sum(|day| day.estimated_tokens)))
    })
    .await
}

async fn the_ledger_equals_what_the_server_counted(database: Database) {
    let fake = Fake::start().await;
    let world = with(database, &fake);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let mut asking = tokio::task::JoinSet::new();
    // The server counts 7 tokens for each prompt, and one for each of two words.
    for n in 0..60 {
        let caller = caller.clone();
        asking.spawn(async move {
            let mut request = question(n % 3 != 0);
            if n % 3 == 1 {
                request["stream_options"] = json!({ "include_usage": true });
            }
            caller.forward(Endpoint::ChatCompletions, request.to_string()).await.expect("an answer").rest().await
        });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.contains("usage")).count(), 40, "20 did not ask");
    assert_eq!(day(&caller, 60).await, (60 * 7, 60 * 2, 0));
    let shown = caller.usage(GetUsageRequest::default()).await.expect("usage");
    let row = &shown.days[0];
    assert_eq!((row.day.as_str(), row.model.as_str(), row.api_key_id.as_str()), ("2025-11-21", MODEL, ""));
    assert_eq!((shown.day.expect("a day").used, shown.month.expect("a month").used), (540, 540));

    // An answer that failed costs nothing; one in another month is another row.
    fake.next(Plan::whole(500, "text/plain", "no"));
    caller.chat(true).await.expect("the server's response");
    world.hand.advance(Duration::from_secs(20 * 24 * 3600));
    caller.chat(true).await.expect("an answer").rest().await;
    assert_eq!(day(&caller, 61).await, (61 * 7, 61 * 2, 0));
    let shown = caller.usage(GetUsageRequest::default()).await.expect("usage");
    assert_eq!(shown.days.iter().map(|row| row.day.as_str()).collect::<Vec<_>>(), ["2025-12-11", "2025-11-21"]);
    assert_eq!((shown.day.expect("a day").used, shown.month.expect("a month").used), (9, 9));

    // Only admins see the usage of others.
    let asked = GetUsageRequest { user_id: caller.user_id(), ..GetUsageRequest::default() };
    let other = Caller::new(world.person(Role::Engineer), &instance);
    assert_eq!(other.usage(asked.clone()).await.expect_err("of another user").kind(), Kind::Forbidden);
    assert!(other.usage(GetUsageRequest::default()).await.expect("usage").days.is_empty());
    let admin = Caller::new(world.person(Role::Admin), &instance);
    assert_eq!(admin.usage(asked).await.expect("usage").days.len(), 2);
    for (since, until, field) in
        [("2025-13-01", "", "since"), ("2023-01-01", "2025-01-01", "since"), ("", "x", "until")]
    {
        let asked = GetUsageRequest { since: since.to_owned(), until: until.to_owned(), ..GetUsageRequest::default() };
        assert_eq!(caller.usage(asked).await.expect_err("invalid").fields()[0].field, field);
    }
    // What was used is there after a restart.
    instance.stop().await;
    let instance = world.start().await;
    assert_eq!(day(&caller.at(&instance), 61).await.0, 61 * 7);
}

async fn uncounted_tokens_are_estimates(database: Database) {
    let fake = Fake::start().await;
    let world = with(database, &fake);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    // The client leaves after three pieces, and the server has not counted.
    let pieces = [role(), text("one"), text(" two"), text(" three")];
    fake.next(Plan::events(pieces.iter().map(String::as_str)).then([Step::Hang]));
    let mut answer = caller.chat(true).await.expect("an answer");
    answer.until("three").await;
    drop(answer);
    let (prompt, completion, estimated) = day(&caller, 1).await;
    assert!(prompt > 0 && (3..10).contains(&completion), "{prompt} {completion}");
    assert_eq!(estimated, prompt + completion);

    // A server that counts in every chunk: what it counted last is exact, also if the client leaves.
    let counted = |text: &str, n: u64| {
        let mut chunk: serde_json::Value = serde_json::from_str(&crate::fake::text(text)).expect("JSON");
        chunk["usage"] = json!({ "prompt_tokens": 100, "completion_tokens": n });
        chunk.to_string()
    };
    let pieces = [role(), counted("one", 1), counted(" two", 2)];
    fake.next(Plan::events(pieces.iter().map(String::as_str)).then([Step::Hang]));
    let mut answer = caller.chat(true).await.expect("an answer");
    answer.until("two").await;
    drop(answer);
    assert_eq!(day(&caller, 2).await, (prompt + 100, completion + 2, estimated));

    // The client leaves before the first piece: the prompt was read.
    fake.next(Plan::hang());
    let asking = tokio::spawn({
        let caller = caller.clone();
        async move { caller.chat(true).await.map(|_| ()) }
    });
    fake.hangs(3).await;
    asking.abort();
    assert_eq!(day(&caller, 3).await, (2 * prompt + 100, completion + 2, estimated + prompt));

    // A complete answer without usage.
    let pieces = [role(), text("one"), finish("stop")];
    let plan = Plan::events(pieces.iter().map(String::as_str));
    fake.next(plan.then([Step::Write(b"data: [DONE]\n\n".to_vec()), Step::End]));
    caller.chat(true).await.expect("an answer").rest().await;
    assert!(day(&caller, 4).await.2 > estimated + prompt);
}

async fn budgets_are_checked_and_renew(database: Database) {
    let fake = Fake::start().await;
    // 9 tokens a request.
    let world =
        with(database, &fake).with("TURNPIKE_LIMIT_TOKENS_PER_DAY", 10).with("TURNPIKE_LIMIT_TOKENS_PER_MONTH", 30);
    let instance = world.start().await;
    let person = world.person(Role::User);
    let caller = Caller::new(person, &instance);
    let other = Caller::new(world.person(Role::User), &instance);
    let refused = async || {
        let fault = caller.chat(true).await.expect_err("the budget is used up");
        assert_eq!((fault.kind(), fault.code()), (Kind::RateLimited, "BUDGET_EXCEEDED"));
        fault
    };
    let mut requests = 0;
    let mut ask = async |times: u64| {
        for _ in 0..times {
            requests += 1;
            caller.chat(requests % 2 == 0).await.expect("an answer").rest().await;
            day(&caller, requests).await;
        }
    };
    ask(2).await;
    let fault = refused().await;
    assert!(fault.detail().contains("10 tokens a day") && fault.detail().contains("2025-11-22T00:00:00Z"), "{fault}");
    other.chat(true).await.expect("the budget of another user").rest().await;

    // The clock stands at 04:40 of 2025-11-21.
    let to_midnight = Duration::from_secs(86_400 - (4 * 3600 + 40 * 60));
    assert_eq!(fault.retry_in(), Some(to_midnight));
    world.hand.advance(to_midnight);
    ask(2).await;
    assert!(refused().await.detail().contains("30 tokens a month"));
    world.hand.advance(Duration::from_secs(86_400));
    assert!(refused().await.detail().contains("2025-12-01T00:00:00Z"), "the budget of the month");
    world.hand.advance(Duration::from_secs(8 * 86_400));
    ask(1).await;
    let shown = caller.usage(GetUsageRequest::default()).await.expect("usage");
    let (day, month) = (shown.day.expect("a day"), shown.month.expect("a month"));
    assert_eq!((day.used, day.limit, month.used, month.limit), (9, 10, 9, 30));
}

async fn an_api_key_has_a_budget_of_its_own(database: Database) {
    let fake = Fake::start().await;
    let world = with(database, &fake);
    let instance = world.start().await;
    let person = world.person(Role::User);
    let caller = Caller::new(person.clone(), &instance);
    let (by_key, id) = world.by_key(&person, 10);
    let by_key = Caller::new(by_key, &instance);
    caller.chat(true).await.expect("an answer").rest().await;
    // What the user spends without the key does not count for the key.
    for requests in [2, 3] {
        by_key.chat(true).await.expect("an answer").rest().await;
        day(&caller, requests).await;
    }
    let fault = by_key.chat(true).await.expect_err("the budget is used up");
    assert_eq!((fault.kind(), fault.code()), (Kind::RateLimited, "BUDGET_EXCEEDED"));
    assert!(fault.detail().contains("API key"), "{fault}");
    caller.chat(true).await.expect("the user has no limit").rest().await;
    day(&caller, 4).await;
    let shown = caller.usage(GetUsageRequest::default()).await.expect("usage").days;
    let rows: Vec<_> = shown.iter().map(|row| (row.api_key_id.as_str(), row.requests)).collect();
    assert_eq!(rows, [("", 2), (id.as_str(), 2)]);
    world.hand.advance(fault.retry_in().expect("the time of renewal"));
    by_key.chat(true).await.expect("the budget has renewed").rest().await;
}
