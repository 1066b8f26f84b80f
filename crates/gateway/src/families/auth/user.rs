//! Accounts as clients see them.

use serde::{Deserialize, Serialize};
use turnpike_proto::auth::v1 as pb;
use utoipa::ToSchema;

use crate::http::rfc3339;

#[derive(Serialize, ToSchema)]
pub(crate) struct User {
    #[schema(format = Uuid)]
    id: String,
    email: String,
    username: String,
    display_name: String,
    role: Role,
    active: bool,
    #[schema(format = DateTime)]
    created_at: Option<String>,
}

impl From<pb::User> for User {
    fn from(user: pb::User) -> Self {
        let role = user.role().into();
        Self {
            id: user.id,
            email: user.email,
            username: user.username,
            display_name: user.display_name,
            role,
            active: user.active,
            created_at: rfc3339(user.created_at),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    User,
    Operator,
    Engineer,
    Admin,
}

impl From<Role> for pb::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Operator => Self::Operator,
            Role::Engineer => Self::Engineer,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<pb::Role> for Role {
    fn from(role: pb::Role) -> Self {
        match role {
            pb::Role::Unspecified | pb::Role::User => Self::User,
            pb::Role::Operator => Self::Operator,
            pb::Role::Engineer => Self::Engineer,
            pb::Role::Admin => Self::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_the_names_that_access_tokens_use() {
        for role in [Role::User, Role::Operator, Role::Engineer, Role::Admin] {
            let name = serde_json::to_value(role).expect("a name");
            assert!(turnpike_token::Role::from_word(name.as_str().expect("text")).is_some());
        }
    }
}
