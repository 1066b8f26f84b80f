//! Starting an answer, or finding the one that an earlier request with the same key has started.

use tokio_util::sync::CancellationToken;
use turnpike_fault::Fault;
use turnpike_kit::OnExit;
use turnpike_topic::MessageId;

use super::{
    Resources, Tail,
    generation::Generation,
    submit::{self, Open, Submission, Submitted},
};

/// An answer whose events the caller gets.
pub(crate) enum Answering {
    /// It is generated for this request.
    New(Tail),
    /// An earlier request with the same key started it.
    Before(MessageId),
}

/// Stores a submission and generates the answer in a task of its own.
pub(crate) async fn start(resources: &Resources, submission: &Submission) -> Result<Answering, Fault> {
    let limit = resources.limits.answers_per_user;
    let now = resources.clock.now();
    match submit::submit(&resources.store, submission, limit, now).await? {
        Submitted::Before(id) => Ok(Answering::Before(id)),
        Submitted::New(open) => Ok(Answering::New(generate(resources, *open))),
    }
}

fn generate(resources: &Resources, open: Open) -> Tail {
    let stop = CancellationToken::new();
    let id = open.message_id;
    let generation = Generation::new(resources.clone(), open, stop.clone());
    let source = generation.source();
    let tail = source.tail();
    let listed = resources.running.list(id, stop, source);
    resources.tasks.spawn("answer", OnExit::Continue, async move {
        let _listed = listed;
        generation.run().await;
    });
    tail
}
