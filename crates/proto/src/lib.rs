#![doc = include_str!("../README.md")]

pub mod timestamp;

/// `turnpike.event.v1`: what can happen on a topic.
pub mod event {
    /// Version 1.
    #[expect(missing_docs, reason = "prost documents messages, not the modules it makes of oneofs")]
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        include!("gen/turnpike.event.v1.rs");
    }
}

/// `turnpike.topic.v1`: who may follow a topic, and its archived events.
pub mod topic {
    /// Version 1.
    #[expect(missing_docs, reason = "tonic documents methods, not the modules around them")]
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        include!("gen/turnpike.topic.v1.rs");
    }
}

/// `turnpike.auth.v1`: users, sessions and tokens.
pub mod auth {
    /// Version 1.
    #[expect(missing_docs, reason = "tonic documents methods, not the modules around them")]
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        include!("gen/turnpike.auth.v1.rs");
    }
}

/// `turnpike.vehicle.v1`: the registry, the commands, the connectors.
pub mod vehicle {
    /// Version 1.
    #[expect(missing_docs, reason = "tonic documents methods, not the modules around them")]
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        include!("gen/turnpike.vehicle.v1.rs");
    }
}

/// `turnpike.chat.v1`: conversations, answers, and language models.
pub mod chat {
    /// Version 1.
    #[expect(missing_docs, reason = "tonic documents methods, not the modules around them")]
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        include!("gen/turnpike.chat.v1.rs");
    }
}

/// `turnpike.captions.v1`: live captions.
pub mod captions {
    /// Version 1.
    #[expect(missing_docs, reason = "tonic documents methods, not the modules around them")]
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        include!("gen/turnpike.captions.v1.rs");
    }
}

/// `turnpike.stream.v1`: the frames of WebSockets in binary form.
pub mod stream {
    /// Version 1.
    #[expect(missing_docs, reason = "prost documents messages, not the modules it makes of oneofs")]
    #[allow(clippy::all, reason = "generated")]
    pub mod v1 {
        include!("gen/turnpike.stream.v1.rs");
    }
}

/// The compiled `.proto` files, comments left out: what gRPC reflection serves.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");
