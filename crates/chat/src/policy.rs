//! The role that each method needs.

use turnpike_rpc::{Access, Policy};
use turnpike_token::Role;

pub const POLICY: Policy = &[
    ("/turnpike.chat.v1.ModelService/Forward", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ModelService/ListModels", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ModelService/LoadModel", Access::Role(Role::Admin)),
    ("/turnpike.chat.v1.ModelService/UnloadModel", Access::Role(Role::Admin)),
    ("/turnpike.chat.v1.ModelService/GetUsage", Access::Role(Role::User)),
    ("/turnpike.topic.v1.TopicOwner/Authorize", Access::Role(Role::User)),
    ("/turnpike.topic.v1.TopicOwner/ReadArchive", Access::Role(Role::User)),
];
