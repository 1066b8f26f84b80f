//! Answers whose instance has stopped: their text so far is stored, and their last event is published.

use std::time::Duration;

use tracing::{info, warn};
use turnpike_bus::Unavailable;
use turnpike_event::{AnswerUsage, Body, ChatEvent, Event};
use turnpike_kit::{OnExit, Process};
use turnpike_store::Store;
use turnpike_topic::{Offset, Topic};

use super::{
    Resources,
    ending::{self, End, Ended, How},
    leases::{self, Claimed, Renewed},
};
use crate::{upstream::estimate_tokens, usage::Spent};

/// Pause between two searches.
const EVERY: Duration = Duration::from_secs(1);
/// Answers that are taken over at once.
const BATCH: u32 = 20;
/// Records of a page of the topic.
const PAGE: usize = 500;

/// Starts the task that takes over answers whose lease has ended, also those of an earlier run.
pub(crate) fn recover(process: &Process, resources: &Resources) {
    let resources = resources.clone();
    let stopping = process.tasks.stopping().clone();
    process.tasks.spawn("recovery of answers", OnExit::StopProcess, async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = take_over(&resources) => {}
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = resources.clock.tick(EVERY) => {}
            }
        }
    });
}

async fn take_over(resources: &Resources) {
    let claimed = match leases::claim(&resources.store, resources.clock.now(), BATCH).await {
        Ok(claimed) => claimed,
        Err(error) => return warn!(%error, "interrupted answers cannot be looked for"),
    };
    for answer in claimed {
        let id = answer.id;
        match recover_one(resources, answer).await {
            Ok(()) => {}
            // The lease ends, and the next search finds it again.
            Err(error) => warn!(error = &*error, message = %id, "an interrupted answer is recovered later"),
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn recover_one(resources: &Resources, answer: Claimed) -> Result<(), Error> {
    let topic = Topic::Conversation(answer.conversation_id);
    let published = read(resources, topic, &answer).await?;
    let Some(mut ended) = ending::load(&resources.store, answer.id).await? else { return Ok(()) };
    if !answer.ended {
        // The followers have seen at least as much as the last checkpoint has, unless the topic is lost.
        if published.content.len() + published.reasoning_content.len()
            >= ended.content.len() + ended.reasoning_content.len()
        {
            (ended.content, ended.reasoning_content) = (published.content, published.reasoning_content);
        }
        if !interrupt(&resources.store, &mut ended, &answer, resources.clock.now()).await? {
            return Ok(());
        }
    }
    if !published.ended {
        let event = Event { at: resources.clock.now(), body: Body::Chat(ended.event()) };
        match resources.bus.publish(&topic, &event.to_bytes()).await {
            Ok(_) | Err(turnpike_bus::PublishError::Closed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    leases::close(&resources.store, answer.id, answer.fence).await?;
    info!(message = %answer.id, state = ended.how.state(), "the last event of an answer was published after a takeover");
    Ok(())
}

/// Stores an answer as interrupted; returns whether this instance still holds its lease.
async fn interrupt(
    store: &Store,
    ended: &mut Ended,
    answer: &Claimed,
    now: jiff::Timestamp,
) -> Result<bool, sqlx::Error> {
    ended.how = How::Interrupted;
    ended.usage = AnswerUsage {
        prompt_tokens: 0,
        completion_tokens: estimate_tokens(&ended.content) + estimate_tokens(&ended.reasoning_content),
        estimated: true,
    };
    let spent = Spent {
        user_id: answer.user_id,
        api_key_id: (!answer.api_key_id.is_empty()).then(|| answer.api_key_id.clone()),
        model: ended.model.clone(),
        prompt_tokens: ended.usage.prompt_tokens,
        completion_tokens: ended.usage.completion_tokens,
        estimated: true,
    };
    let end = End { ended: ended.clone(), fence: answer.fence, spent, now };
    Ok(store.write(end).await? == Renewed::Held)
}

/// What the topic has of an answer.
#[derive(Default)]
struct Published {
    content: String,
    reasoning_content: String,
    ended: bool,
}

async fn read(resources: &Resources, topic: Topic, answer: &Claimed) -> Result<Published, Unavailable> {
    let mut published = Published::default();
    let mut after: Option<Offset> = answer.started;
    loop {
        let page = resources.bus.read(&topic, after, PAGE).await?;
        let Some(last) = page.records.last().map(|record| record.offset) else { return Ok(published) };
        for record in page.records {
            let Body::Chat(event) = Event::from_bytes(record.event).body else { continue };
            if event.message_id() != Some(answer.id) {
                continue;
            }
            if let ChatEvent::Delta { content, reasoning_content, .. } = &event {
                published.content.push_str(content);
                published.reasoning_content.push_str(reasoning_content);
            }
            published.ended |= event.ends_answer();
        }
        after = Some(last);
    }
}
