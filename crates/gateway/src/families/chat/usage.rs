//! `/api/chat/usage`: tokens by day and model.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use turnpike_proto::chat::v1 as pb;
use turnpike_topic::UserId;
use utoipa::{IntoParams, ToSchema};

use super::{id, text};
use crate::{
    access::caller::SignedIn,
    app::Chat,
    http::{Answer, extract::Query, problem::ProblemBody, rfc3339},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Days {
    /// The first day, in UTC; the last 30 days if absent.
    #[param(pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]
    since: Option<String>,
    /// The last day.
    #[param(pattern = "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]
    until: Option<String>,
    /// For an admin: another user.
    #[param(format = Uuid)]
    user_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct TokenUsage {
    days: Vec<UsageOfDay>,
    /// The budget of this day.
    day: Option<Budget>,
    /// The budget of this month.
    month: Option<Budget>,
}

#[derive(Serialize, ToSchema)]
struct UsageOfDay {
    #[schema(format = Date)]
    day: String,
    model: String,
    /// `null`: not by an API key.
    api_key_id: Option<String>,
    requests: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    /// How many of the tokens are estimates, because the model's server did not count.
    estimated_tokens: u64,
}

#[derive(Serialize, ToSchema)]
struct Budget {
    used: u64,
    /// `null`: no limit.
    limit: Option<u64>,
    #[schema(format = DateTime)]
    renews_at: Option<String>,
}

impl From<pb::UsageOfDay> for UsageOfDay {
    fn from(usage: pb::UsageOfDay) -> Self {
        Self {
            day: usage.day,
            model: usage.model,
            api_key_id: text(usage.api_key_id),
            requests: usage.requests,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            estimated_tokens: usage.estimated_tokens,
        }
    }
}

impl From<pb::Budget> for Budget {
    fn from(budget: pb::Budget) -> Self {
        let limit = Some(budget.limit).filter(|limit| *limit > 0);
        Self { used: budget.used, limit, renews_at: rfc3339(budget.renews_at) }
    }
}

/// The tokens that the caller has used, by day and model.
#[utoipa::path(get, path = "/api/chat/usage", tag = "chat", params(Days),
    responses((status = 200, body = TokenUsage), (status = 400, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 422, body = ProblemBody)))]
pub(crate) async fn usage(
    State(chat): State<Chat>,
    SignedIn(caller): SignedIn,
    Query(days): Query<Days>,
) -> Answer<Json<TokenUsage>> {
    let message = pb::GetUsageRequest {
        user_id: id::<UserId>("user_id", days.user_id)?,
        since: days.since.unwrap_or_default(),
        until: days.until.unwrap_or_default(),
    };
    let answer = chat.models().get_usage(caller.token.request(message)).await?.into_inner();
    Ok(Json(TokenUsage {
        days: answer.days.into_iter().map(UsageOfDay::from).collect(),
        day: answer.day.map(Budget::from),
        month: answer.month.map(Budget::from),
    }))
}
