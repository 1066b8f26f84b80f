//! The role that each method needs.

use turnpike_rpc::{Access, Policy};
use turnpike_token::Role;

pub const POLICY: Policy = &[
    ("/turnpike.chat.v1.ModelService/Forward", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ModelService/ListModels", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ModelService/LoadModel", Access::Role(Role::Admin)),
    ("/turnpike.chat.v1.ModelService/UnloadModel", Access::Role(Role::Admin)),
    ("/turnpike.chat.v1.ModelService/GetUsage", Access::Role(Role::User)),
    ("/turnpike.chat.v1.AnswerService/SendMessage", Access::Role(Role::User)),
    ("/turnpike.chat.v1.AnswerService/Regenerate", Access::Role(Role::User)),
    ("/turnpike.chat.v1.AnswerService/StopAnswer", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/CreateConversation", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/ListConversations", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/GetConversation", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/UpdateConversation", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/DeleteConversation", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/ListMessages", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/SelectVersion", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/Search", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/Export", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/ExportAll", Access::Role(Role::Admin)),
    ("/turnpike.chat.v1.ConversationService/CreatePersona", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/ListPersonas", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/UpdatePersona", Access::Role(Role::User)),
    ("/turnpike.chat.v1.ConversationService/DeletePersona", Access::Role(Role::User)),
    ("/turnpike.topic.v1.TopicOwner/Authorize", Access::Role(Role::User)),
    ("/turnpike.topic.v1.TopicOwner/ReadArchive", Access::Role(Role::User)),
];
