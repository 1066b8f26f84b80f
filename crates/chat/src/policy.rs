//! The role that each method needs.

use turnpike_rpc::{Access, Policy};
use turnpike_token::Role;

pub const POLICY: Policy = &[
    ("/turnpike.topic.v1.TopicOwner/Authorize", Access::Role(Role::User)),
    ("/turnpike.topic.v1.TopicOwner/ReadArchive", Access::Role(Role::User)),
];
