//! The generated trait of API keys: parse, call, convert.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use turnpike_fault::Fault;
use turnpike_proto::auth::v1::{self as pb, api_key_service_server::ApiKeyService};
use turnpike_token::Role;

use crate::{
    api_keys::{self, ApiKeyError, New},
    convert::{parse_user_id, to_pb_api_key},
    exchange::{self, ExchangeError},
    rpc::Rpc,
    users::{self, Replayed},
};

/// It shares the parts of [`Rpc`].
pub(crate) struct ApiKeyRpc(pub(crate) Arc<Rpc>);

#[tonic::async_trait]
impl ApiKeyService for ApiKeyRpc {
    async fn exchange_api_key(
        &self,
        request: Request<pb::ExchangeApiKeyRequest>,
    ) -> Result<Response<pb::AccessToken>, Status> {
        let rpc = &self.0;
        let now = rpc.clock.now();
        let digest = request.into_inner().key_sha256.try_into().map_err(|_| Fault::from(ExchangeError::Unknown))?;
        let hash = api_keys::hash(&rpc.tokens.secret, &digest);
        let exchanged = exchange::exchange(&rpc.store, &hash, now).await.map_err(Fault::from)?;
        Ok(Response::new(rpc.tokens.of_api_key(&exchanged, now)))
    }

    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let rpc = &self.0;
        let (_, session) = rpc.session(&request, Role::User).await?;
        let request = request.into_inner();
        let new = New::validated(
            &request.name,
            request.expires_in_days,
            &request.scopes,
            request.requests_per_minute,
            request.tokens_per_day,
        )?;
        // The debug form distinguishes every two requests, and the validated request has no other spelling.
        let once = rpc.key(&session, &request.idempotency_key, &["api key", &format!("{new:?}")])?;
        let (secret, now) = (&rpc.tokens.secret, rpc.clock.now());
        let created = api_keys::create(&rpc.store, secret, session.user.id, &new, once.as_ref(), now).await;
        let (description, key, Replayed(replayed)) = created.map_err(Fault::from)?;
        let api_key = Some(to_pb_api_key(description));
        Ok(Response::new(pb::CreateApiKeyResponse { api_key, key: key.expose().to_owned(), replayed }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let (_, session) = self.0.session(&request, Role::User).await?;
        let all = api_keys::list(&self.0.store, session.user.id).await.map_err(turnpike_store::fault)?;
        Ok(Response::new(pb::ListApiKeysResponse { api_keys: all.into_iter().map(to_pb_api_key).collect() }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let rpc = &self.0;
        let (_, session) = rpc.session(&request, Role::User).await?;
        let id = request.into_inner().id.parse().map_err(|_| Fault::from(ApiKeyError::NotFound))?;
        api_keys::revoke(&rpc.store, session.user.id, id, rpc.clock.now()).await.map_err(Fault::from)?;
        rpc.bell.ring();
        Ok(Response::new(pb::RevokeApiKeyResponse {}))
    }

    async fn list_user_api_keys(
        &self,
        request: Request<pb::ListUserApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let rpc = &self.0;
        rpc.session(&request, Role::Admin).await?;
        let user = parse_user_id(&request.into_inner().user_id)?;
        users::get(&rpc.store, user).await?;
        let all = api_keys::list(&rpc.store, user).await.map_err(turnpike_store::fault)?;
        Ok(Response::new(pb::ListApiKeysResponse { api_keys: all.into_iter().map(to_pb_api_key).collect() }))
    }

    async fn revoke_user_api_key(
        &self,
        request: Request<pb::RevokeUserApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let rpc = &self.0;
        rpc.session(&request, Role::Admin).await?;
        let request = request.into_inner();
        let user = parse_user_id(&request.user_id)?;
        let id = request.id.parse().map_err(|_| Fault::from(ApiKeyError::NotFound))?;
        api_keys::revoke(&rpc.store, user, id, rpc.clock.now()).await.map_err(Fault::from)?;
        rpc.bell.ring();
        Ok(Response::new(pb::RevokeApiKeyResponse {}))
    }
}
