//! `/api/auth/api-keys`: the API keys of the caller.

use axum::{Json, extract::State};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Number;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use turnpike_topic::ApiKeyId;
use utoipa::ToSchema;

use super::sign_in::no_store;
use crate::{
    access::{
        body::{Body, SMALL},
        caller::SignedIn,
    },
    app::Auth,
    http::{Answer, extract::Id, idempotency, number, problem::ProblemBody, rfc3339},
};

/// What an API key may be used for, within what its owner may do. `all` is everything; `read` is reading in every part but `admin`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    All,
    Read,
    Vehicles,
    Chat,
    Llm,
    Captions,
    Admin,
}

impl From<Scope> for turnpike_token::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Read => Self::Read,
            Scope::Vehicles => Self::Vehicles,
            Scope::Chat => Self::Chat,
            Scope::Llm => Self::Llm,
            Scope::Captions => Self::Captions,
            Scope::Admin => Self::Admin,
        }
    }
}

/// An API key without the key itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKey {
    #[schema(format = Uuid)]
    id: String,
    name: String,
    /// The first characters of the key.
    #[schema(example = "tp_4fzyo8")]
    prefix: String,
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<String>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// `null`: the key does not expire.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Up to 15 minutes old. `null`: the key was not used.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// `null`: no limit of the key.
    requests_per_minute: Option<u32>,
    /// `null`: no limit of the key.
    tokens_per_day: Option<u64>,
}

impl From<pb::ApiKey> for ApiKey {
    fn from(key: pb::ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            created_at: rfc3339(key.created_at),
            expires_at: rfc3339(key.expires_at),
            last_used_at: rfc3339(key.last_used_at),
            requests_per_minute: key.requests_per_minute,
            tokens_per_day: key.tokens_per_day,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    /// For the list of keys.
    #[schema(
        example = "nightly build",
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: String,
    /// Absent: the key does not expire.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 3650)]
    expires_in_days: Option<Number>,
    /// Absent: `all`.
    #[schema(min_items = 1)]
    scopes: Option<Vec<Scope>>,
    /// Requests with this key, on each gateway. Absent: no limit of the key.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<Number>,
    /// Tokens of language models. Absent: no limit of the key.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_000_000_000_000_u64)]
    tokens_per_day: Option<Number>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedApiKey {
    /// The key itself. It is shown only here.
    #[schema(example = "tp_4fzyo82mvyr16wtNGcPZR7hpEMBkD3jTLaLhhqxsKAVvUYfXQ9b")]
    key: String,
    #[serde(flatten)]
    api_key: ApiKey,
}

/// Create an API key.
///
/// A program sends it as `Authorization: Bearer tp_…`. It works on every route that its scopes and its owner's role allow, except
/// those that manage credentials and accounts. `Idempotency-Key` makes a repeated request get the response of the first one for
/// 24 hours.
#[utoipa::path(post, path = "/api/auth/api-keys", tag = "auth", request_body = NewApiKey,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = CreatedApiKey), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub(crate) async fn create(
    State(auth): State<Auth>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(new, _): Body<NewApiKey, SMALL>,
) -> Answer<(StatusCode, HeaderMap, Json<CreatedApiKey>)> {
    if new.scopes.as_ref().is_some_and(Vec::is_empty) {
        return Err(Fault::new(Kind::Validation, "The body is not valid")
            .field("scopes", "must name a scope; without the field the key may be used for everything")
            .into());
    }
    let expires_in_days = number::optional("expires_in_days", new.expires_in_days.as_ref(), 1..=3650)?;
    let requests_per_minute = number::optional("requests_per_minute", new.requests_per_minute.as_ref(), 1..=1_000_000)?;
    let tokens_per_day = number::optional("tokens_per_day", new.tokens_per_day.as_ref(), 1..=1_000_000_000_000)?;
    let scopes = new.scopes.into_iter().flatten().map(|scope| turnpike_token::Scope::from(scope).as_str().to_owned());
    let message = pb::CreateApiKeyRequest {
        name: new.name,
        expires_in_days: expires_in_days.map(|days| days as u32),
        scopes: scopes.collect(),
        requests_per_minute: requests_per_minute.map(|requests| requests as u32),
        tokens_per_day,
        idempotency_key: idempotency::key(&headers)?,
    };
    let answer = auth.api_keys().create_api_key(caller.token.request(message)).await?.into_inner();
    let api_key = answer.api_key.ok_or_else(Fault::internal)?.into();
    let mut headers = idempotency::replayed(answer.replayed);
    headers.extend(no_store());
    Ok((StatusCode::CREATED, headers, Json(CreatedApiKey { key: answer.key, api_key })))
}

/// The API keys of the caller, newest first.
#[utoipa::path(get, path = "/api/auth/api-keys", tag = "auth", responses((status = 200, body = Vec<ApiKey>)))]
pub(crate) async fn list(State(auth): State<Auth>, SignedIn(caller): SignedIn) -> Answer<Json<Vec<ApiKey>>> {
    let answer = auth.api_keys().list_api_keys(caller.token.request(pb::ListApiKeysRequest {})).await?.into_inner();
    Ok(Json(answer.api_keys.into_iter().map(ApiKey::from).collect()))
}

/// Revoke an API key of the caller.
///
/// Requests with it are refused, and sockets that were opened with it are closed.
#[utoipa::path(delete, path = "/api/auth/api-keys/{id}", tag = "auth", params(("id" = String, Path, format = Uuid)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(crate) async fn revoke(
    State(auth): State<Auth>,
    SignedIn(caller): SignedIn,
    Id(id): Id<ApiKeyId>,
) -> Answer<StatusCode> {
    auth.api_keys().revoke_api_key(caller.token.request(pb::RevokeApiKeyRequest { id: id.to_string() })).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_have_the_words_that_keys_have() {
        for word in turnpike_token::Scope::ALL {
            let parsed: Scope = serde_json::from_value(word.as_str().into()).expect("a scope");
            assert_eq!(turnpike_token::Scope::from(parsed), word);
        }
    }
}
