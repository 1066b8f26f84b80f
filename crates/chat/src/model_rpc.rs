//! The generated trait of models: parse, call, convert.

use bytes::Bytes;
use futures_util::{
    StreamExt, TryFutureExt,
    stream::{self, BoxStream},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use tonic::{Request, Response, Status};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{Caller, caller};
use turnpike_kit::Clock;
use turnpike_proto::{
    chat::v1::{self as pb, model_service_server::ModelService},
    timestamp,
};
use turnpike_store::Store;
use turnpike_token::Role;
use turnpike_topic::UserId;

use crate::{
    Limits,
    budget::{self, ApiKey},
    ledger::{Account, Ledger},
    translation::{Translated, Wanted, translate},
    upstream::{Call, Endpoint, Forwarded, Upstreams},
    usage::{self, Spent},
};

/// Maximum number of days, and of rows, in one response.
const DAYS: i64 = 366;
const ROWS: i64 = 10_000;
/// Days that are shown if a request names none.
const LAST_DAYS: i64 = 30;
/// Maximum length of one part of a body: clients of gRPC take messages of 4 MiB.
const PART: usize = 1 << 20;

pub(crate) struct ModelRpc {
    pub(crate) store: Store,
    pub(crate) upstreams: Upstreams,
    pub(crate) ledger: Ledger,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
}

#[tonic::async_trait]
impl ModelService for ModelRpc {
    type ForwardStream = BoxStream<'static, Result<pb::ForwardPart, Status>>;

    async fn forward(&self, request: Request<pb::ForwardRequest>) -> Result<Response<Self::ForwardStream>, Status> {
        let claims = &caller(&request)?.claims;
        let (user_id, key) = (claims.user_id, claims.api_key.map(ApiKey::from));
        let request = request.into_inner();
        let call = Call::parse(to_endpoint(request.endpoint())?, request.body)?;
        budget::check(&self.store, &self.limits, user_id, key.as_ref(), self.clock.now()).await.map_err(Fault::from)?;
        let spent = Spent {
            user_id,
            api_key_id: key.map(|key| key.id),
            model: call.model.clone().unwrap_or_default(),
            prompt_tokens: call.prompt_estimate,
            completion_tokens: 0,
            estimated: false,
        };
        let account = Account::new(&self.ledger, spent);
        let upstreams = self.upstreams.clone();
        // The head is the first part of the stream, so that the deadline of the call does not bound the model.
        let parts =
            async move { upstreams.forward(call, account).await.map(to_parts).map_err(|e| Fault::from(e).into()) };
        Ok(Response::new(parts.try_flatten_stream().boxed()))
    }

    async fn list_models(&self, _: Request<pb::ListModelsRequest>) -> Result<Response<pb::ListModelsResponse>, Status> {
        let models = self.upstreams.models().await.map_err(|failure| Fault::from(failure.to_error()))?;
        let models = models.into_iter().map(|model| pb::Model {
            id: model.id,
            server: model.server,
            owned_by: model.owned_by,
            created_at: model.created_at.map(timestamp::to_protobuf),
            active: model.active,
        });
        Ok(Response::new(pb::ListModelsResponse { models: models.collect() }))
    }

    async fn load_model(
        &self,
        request: Request<pb::LoadModelRequest>,
    ) -> Result<Response<pb::LoadModelResponse>, Status> {
        let model = request.into_inner().model;
        if model.is_empty() || model.len() > 200 {
            return Err(invalid("model", "must have 1 to 200 bytes").into());
        }
        self.upstreams.load(&model).await?;
        Ok(Response::new(pb::LoadModelResponse {}))
    }

    async fn unload_model(
        &self,
        _: Request<pb::UnloadModelRequest>,
    ) -> Result<Response<pb::UnloadModelResponse>, Status> {
        self.upstreams.unload().await?;
        Ok(Response::new(pb::UnloadModelResponse {}))
    }

    async fn translate(
        &self,
        request: Request<pb::TranslateRequest>,
    ) -> Result<Response<pb::TranslateResponse>, Status> {
        let claims = &caller(&request)?.claims;
        let (user_id, key) = (claims.user_id, claims.api_key.map(ApiKey::from));
        let wanted = Wanted::new(&request.get_ref().text, &request.get_ref().into)?;
        budget::check(&self.store, &self.limits, user_id, key.as_ref(), self.clock.now()).await.map_err(Fault::from)?;
        let Translated { text, model, prompt_tokens, completion_tokens, estimated } =
            translate(&self.upstreams, &wanted).await?;
        let api_key_id = key.map(|key| key.id);
        self.ledger.add(&Spent { user_id, api_key_id, model, prompt_tokens, completion_tokens, estimated });
        Ok(Response::new(pb::TranslateResponse { text }))
    }

    async fn get_usage(&self, request: Request<pb::GetUsageRequest>) -> Result<Response<pb::GetUsageResponse>, Status> {
        let user_id = user_of(caller(&request)?, &request.get_ref().user_id)?;
        let request = request.into_inner();
        let now = self.clock.now();
        let until = day("until", &request.until)?.unwrap_or_else(|| usage::day_of(now));
        let since = day("since", &request.since)?.unwrap_or(until - LAST_DAYS + 1);
        if !(0..DAYS).contains(&(until - since)) {
            return Err(invalid("since", "must be at most 366 days before `until`").into());
        }
        let days = usage::between(&self.store, user_id, since..=until, ROWS).await.map_err(turnpike_store::fault)?;
        let used = budget::used(&self.store, user_id, None, now).await.map_err(turnpike_store::fault)?;
        let budget =
            |used, limit, renews_at| pb::Budget { used, limit, renews_at: Some(timestamp::to_protobuf(renews_at)) };
        Ok(Response::new(pb::GetUsageResponse {
            days: days.into_iter().map(to_pb_day).collect(),
            day: Some(budget(used.day, self.limits.tokens_per_day, budget::next_day(now))),
            month: Some(budget(used.month, self.limits.tokens_per_month, budget::next_month(now))),
        }))
    }
}

fn to_endpoint(endpoint: pb::Endpoint) -> Result<Endpoint, Fault> {
    match endpoint {
        pb::Endpoint::ChatCompletions => Ok(Endpoint::ChatCompletions),
        pb::Endpoint::Completions => Ok(Endpoint::Completions),
        pb::Endpoint::Responses => Ok(Endpoint::Responses),
        pb::Endpoint::Embeddings => Ok(Endpoint::Embeddings),
        pb::Endpoint::Unspecified => Err(invalid("endpoint", "must be one of the endpoints")),
    }
}

fn to_parts(forwarded: Forwarded) -> BoxStream<'static, Result<pb::ForwardPart, Status>> {
    let head = pb::ForwardHead {
        status: forwarded.status.as_u16().into(),
        content_type: forwarded.content_type,
        retry_after: forwarded.retry_after.map_or(0, |after| u32::try_from(after.as_secs().max(1)).unwrap_or(u32::MAX)),
    };
    let part = |part| Ok(pb::ForwardPart { part: Some(part) });
    let head = part(pb::forward_part::Part::Head(head));
    let body = forwarded.body.flat_map(|bytes| stream::iter(Chunks(bytes)));
    stream::iter([head]).chain(body.map(move |bytes| part(pb::forward_part::Part::Body(bytes)))).boxed()
}

/// Bytes in parts.
struct Chunks(Bytes);

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        (!self.0.is_empty()).then(|| self.0.split_to(self.0.len().min(PART)))
    }
}

/// Whose usage is shown: a caller's own, or for an admin anyone's.
fn user_of(caller: &Caller, asked: &str) -> Result<UserId, Fault> {
    if asked.is_empty() {
        return Ok(caller.claims.user_id);
    }
    let asked: UserId = asked.parse().map_err(|_| invalid("user_id", "must be a UUID"))?;
    match asked == caller.claims.user_id || caller.claims.role >= Role::Admin {
        true => Ok(asked),
        false => Err(Fault::new(Kind::Forbidden, "The usage of other users needs the role admin")),
    }
}

fn day(field: &'static str, text: &str) -> Result<Option<i64>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let midnight = text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC));
    let midnight = midnight.map_err(|_| invalid(field, "must be a date such as 2026-01-31"))?;
    Ok(Some(usage::day_of(midnight.timestamp())))
}

fn to_pb_day(day: usage::UsageOfDay) -> pb::UsageOfDay {
    let at = Timestamp::from_second(day.day * 86_400).unwrap_or_default();
    pb::UsageOfDay {
        day: at.to_zoned(TimeZone::UTC).date().to_string(),
        model: day.model,
        api_key_id: day.api_key_id,
        requests: day.requests,
        prompt_tokens: day.prompt_tokens,
        completion_tokens: day.completion_tokens,
        estimated_tokens: day.estimated_tokens,
    }
}

fn invalid(field: &'static str, message: &'static str) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}
