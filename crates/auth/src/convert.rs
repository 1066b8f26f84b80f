//! Between generated types and those of the operations.

use turnpike_fault::{Fault, Kind};
use turnpike_proto::{auth::v1 as pb, timestamp};
use turnpike_token::{Role, Scope};
use turnpike_topic::UserId;

use crate::{
    api_keys::Description,
    sessions::{Active, Session},
    users::{User, UserError},
};

pub(crate) fn invalid(field: &str, message: &str) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

/// Text of an unknown caller: without control characters, and cut.
pub(crate) fn printable(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

pub(crate) fn parse_user_id(text: &str) -> Result<UserId, Fault> {
    text.parse().map_err(|_| UserError::NotFound.into())
}

pub(crate) fn parse_role(role: i32) -> Result<Role, Fault> {
    match pb::Role::try_from(role) {
        Ok(pb::Role::User) => Ok(Role::User),
        Ok(pb::Role::Operator) => Ok(Role::Operator),
        Ok(pb::Role::Engineer) => Ok(Role::Engineer),
        Ok(pb::Role::Admin) => Ok(Role::Admin),
        Ok(pb::Role::Unspecified) | Err(_) => Err(invalid("role", "must be user, operator, engineer or admin")),
    }
}

pub(crate) fn to_pb_user(user: User) -> pb::User {
    let role = match user.role {
        Role::User => pb::Role::User,
        Role::Operator => pb::Role::Operator,
        Role::Engineer => pb::Role::Engineer,
        Role::Admin => pb::Role::Admin,
    };
    pb::User {
        id: user.id.to_string(),
        email: user.email,
        username: user.username,
        display_name: user.display_name,
        role: role.into(),
        active: user.active,
        created_at: Some(timestamp::to_protobuf(user.created_at)),
    }
}

pub(crate) fn to_pb_session(session: Session, current: Option<&Active>) -> pb::Session {
    pb::Session {
        id: session.id.to_string(),
        created_at: Some(timestamp::to_protobuf(session.created_at)),
        last_seen_at: Some(timestamp::to_protobuf(session.last_seen_at)),
        ip: session.ip,
        user_agent: session.user_agent,
        current: current.is_some_and(|current| current.id == session.id),
    }
}

pub(crate) fn to_pb_api_key(key: Description) -> pb::ApiKey {
    pb::ApiKey {
        id: key.id.to_string(),
        name: key.name,
        prefix: key.prefix,
        scopes: key.scopes.iter().map(Scope::as_str).map(str::to_owned).collect(),
        created_at: Some(timestamp::to_protobuf(key.created_at)),
        expires_at: key.expires_at.map(timestamp::to_protobuf),
        last_used_at: key.last_used_at.map(timestamp::to_protobuf),
        requests_per_minute: key.requests_per_minute.map(Into::into),
        tokens_per_day: key.tokens_per_day,
    }
}
