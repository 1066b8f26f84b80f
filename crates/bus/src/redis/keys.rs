//! The names of a topic in Redis.

/// The two keys of a topic. The braces make a Redis Cluster keep both on one node.
pub(super) struct Keys {
    pub(super) stream: String,
    pub(super) head: String,
}

impl Keys {
    pub(super) fn of(topic: &str) -> Self {
        Self { stream: format!("topic:{{{topic}}}"), head: format!("topic:{{{topic}}}:head") }
    }
}
