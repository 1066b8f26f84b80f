//! The generated trait: parse, call, convert.

use secrecy::SecretString;
use tonic::{Request, Response, Status};
use turnpike_event::EndReason;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{Caller, caller};
use turnpike_kit::Clock;
use turnpike_proto::{
    auth::v1::{self as pb, auth_service_server::AuthService},
    timestamp,
};
use turnpike_rpc::{Access, Policy};
use turnpike_store::{Page, Reads, Store, idempotency::Key, outbox::Bell};
use turnpike_token::Role;

use crate::{
    changes::{self, Change},
    convert::{parse_role, parse_user_id, printable, to_pb_session, to_pb_user},
    exchange::{self, OfSession},
    limits::Logins,
    login::{self, Attempt},
    names, one_time,
    password::Hasher,
    refresh::{self, Refresh},
    revocations,
    sessions::{self, Active, SessionError},
    tickets,
    tokens::Tokens,
    users::{self, New, Replayed},
};

/// The role that each method needs.
pub const POLICY: Policy = &[
    ("/turnpike.auth.v1.AuthService/Login", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/Refresh", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/Logout", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/ExchangeSession", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/RedeemTicket", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/RedeemOneTimeCode", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/GetJwks", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/ListRevocations", Access::Anyone),
    ("/turnpike.auth.v1.AuthService/GetMe", Access::Role(Role::User)),
    ("/turnpike.auth.v1.AuthService/ChangePassword", Access::Role(Role::User)),
    ("/turnpike.auth.v1.AuthService/ListSessions", Access::Role(Role::User)),
    ("/turnpike.auth.v1.AuthService/EndSession", Access::Role(Role::User)),
    ("/turnpike.auth.v1.AuthService/CreateTicket", Access::Role(Role::User)),
    ("/turnpike.auth.v1.AuthService/NameUsers", Access::Role(Role::User)),
    ("/turnpike.auth.v1.AuthService/ListUsers", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.AuthService/GetUser", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.AuthService/CreateUser", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.AuthService/UpdateUser", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.AuthService/DeleteUser", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.AuthService/ListUserSessions", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.AuthService/EndUserSessions", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.ApiKeyService/ExchangeApiKey", Access::Anyone),
    ("/turnpike.auth.v1.ApiKeyService/CreateApiKey", Access::Role(Role::User)),
    ("/turnpike.auth.v1.ApiKeyService/ListApiKeys", Access::Role(Role::User)),
    ("/turnpike.auth.v1.ApiKeyService/RevokeApiKey", Access::Role(Role::User)),
    ("/turnpike.auth.v1.ApiKeyService/ListUserApiKeys", Access::Role(Role::Admin)),
    ("/turnpike.auth.v1.ApiKeyService/RevokeUserApiKey", Access::Role(Role::Admin)),
    ("/turnpike.topic.v1.TopicOwner/Authorize", Access::Role(Role::User)),
    ("/turnpike.topic.v1.TopicOwner/ReadArchive", Access::Role(Role::User)),
];

/// The code of the refusal of API keys.
const API_KEY_NOT_ALLOWED: &str = "API_KEY_NOT_ALLOWED";

pub(crate) struct Rpc {
    pub(crate) store: Store,
    pub(crate) sessions: Reads<sessions::ById>,
    pub(crate) tokens: Tokens,
    pub(crate) jwks: String,
    pub(crate) hasher: Hasher,
    pub(crate) limits: Logins,
    pub(crate) clock: Clock,
    pub(crate) bell: Bell,
}

impl Rpc {
    /// The stored form of an idempotency key, with a keyed hash of the request, which can contain passwords.
    pub(crate) fn key(&self, session: &Active, key: &str, request: &[&str]) -> Result<Option<Key>, Fault> {
        let hash = self.tokens.secret.digest(b"idempotency", request);
        Key::new(session.user.id, key, hash)
    }

    /// The caller's present session. Auth does not rely on the access token alone: a session that has ended is refused at once,
    /// and so is an admin whose role has changed. A program with an API key manages no credentials and no accounts.
    pub(crate) async fn session<T>(&self, request: &Request<T>, least: Role) -> Result<(Caller, Active), Fault> {
        let (caller, session) = self.present(request).await?;
        if caller.claims.api_key.is_some() {
            return Err(
                Fault::new(Kind::Forbidden, "This does not accept API keys; sign in").code_is(API_KEY_NOT_ALLOWED)
            );
        }
        if session.user.role < least {
            return Err(Fault::new(Kind::Forbidden, format!("This needs the role {least}")));
        }
        Ok((caller, session))
    }

    /// The caller's present session, which may be that of an API key.
    async fn present<T>(&self, request: &Request<T>) -> Result<(Caller, Active), Fault> {
        let caller = caller(request)?.clone();
        let now = self.clock.now();
        let session = sessions::of_id_shared(&self.sessions, &self.store, caller.claims.session_id, now).await?;
        Ok((caller, session))
    }
}

#[tonic::async_trait]
impl AuthService for Rpc {
    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::LoginResponse>, Status> {
        let request = request.into_inner();
        let now = self.clock.now();
        let attempt = Attempt {
            identifier: request.identifier,
            password: SecretString::from(request.password),
            ip: printable(&request.client_ip, 64),
            user_agent: printable(&request.user_agent, 256),
        };
        let begun = login::login(&self.store, &self.hasher, &self.limits, attempt, now).await?;
        Ok(Response::new(self.tokens.login(begun, now)))
    }

    async fn refresh(&self, request: Request<pb::RefreshRequest>) -> Result<Response<pb::TokenPair>, Status> {
        let now = self.clock.now();
        let token = Refresh::open(&request.into_inner().refresh_token, &self.tokens.secret)
            .ok_or_else(|| Fault::from(SessionError::Over))?;
        let rotated = refresh::rotate(&self.store, token, now).await;
        self.bell.ring(); // a reuse has ended the session
        Ok(Response::new(self.tokens.pair(&rotated?, now)))
    }

    async fn logout(&self, request: Request<pb::LogoutRequest>) -> Result<Response<pb::LogoutResponse>, Status> {
        let now = self.clock.now();
        let by_token = caller(&request).ok().map(|caller| (caller.claims.user_id, caller.claims.session_id));
        let request = request.into_inner();
        let by_cookie = match request.session_token.as_str() {
            "" => None,
            cookie => known(sessions::of_cookie(&self.store, cookie, now).await)?,
        };
        let by_refresh = match Refresh::open(&request.refresh_token, &self.tokens.secret) {
            None => None,
            Some(token) => known(sessions::of_id(&self.store, token.session_id, now).await)?,
        };
        let sessions = [by_cookie, by_refresh].map(|session| session.map(|session| (session.user.id, session.id)));
        for (user, session) in by_token.into_iter().chain(sessions.into_iter().flatten()) {
            // A session that has ended already needs nothing.
            known(sessions::end(&self.store, user, session, EndReason::Logout, now).await)?;
        }
        self.bell.ring();
        Ok(Response::new(pb::LogoutResponse {}))
    }

    async fn exchange_session(
        &self,
        request: Request<pb::ExchangeSessionRequest>,
    ) -> Result<Response<pb::AccessToken>, Status> {
        let now = self.clock.now();
        let session = sessions::of_cookie(&self.store, &request.into_inner().session_token, now).await?;
        Ok(Response::new(self.tokens.short(&session, now)))
    }

    async fn redeem_ticket(
        &self,
        request: Request<pb::RedeemTicketRequest>,
    ) -> Result<Response<pb::AccessToken>, Status> {
        let now = self.clock.now();
        let session = tickets::redeem(&self.store, &request.into_inner().ticket, now).await?;
        // The ticket of an API key permits what the key permits.
        Ok(Response::new(match exchange::of_session(&self.store, session, now).await.map_err(Fault::from)? {
            OfSession::ApiKey(exchanged) => self.tokens.of_api_key(&exchanged, now),
            OfSession::SignIn(session) => self.tokens.short(&session, now),
        }))
    }

    async fn redeem_one_time_code(
        &self,
        request: Request<pb::RedeemOneTimeCodeRequest>,
    ) -> Result<Response<pb::LoginResponse>, Status> {
        // The gateway of this process calls directly and has checked that its client is on this machine. Any other caller comes
        // over a socket, and may claim any `client_ip`.
        if request.remote_addr().is_some() {
            return Err(login::refused().into());
        }
        let (now, request) = (self.clock.now(), request.into_inner());
        let (ip, agent) = (printable(&request.client_ip, 64), printable(&request.user_agent, 256));
        let code = SecretString::from(request.code);
        let begun = one_time::redeem(&self.store, &self.limits, &code, &ip, &agent, now).await?;
        Ok(Response::new(self.tokens.login(begun, now)))
    }

    async fn get_jwks(&self, _: Request<pb::GetJwksRequest>) -> Result<Response<pb::GetJwksResponse>, Status> {
        Ok(Response::new(pb::GetJwksResponse { jwks_json: self.jwks.clone() }))
    }

    async fn list_revocations(
        &self,
        _: Request<pb::ListRevocationsRequest>,
    ) -> Result<Response<pb::ListRevocationsResponse>, Status> {
        let now = self.clock.now();
        let sessions = revocations::sessions(&self.store, now).await.map_err(turnpike_store::fault)?;
        let accounts = revocations::accounts(&self.store, now).await.map_err(turnpike_store::fault)?;
        let sessions = sessions.into_iter().map(|(id, at)| (id.to_string(), String::new(), at));
        let accounts = accounts.into_iter().map(|(id, at)| (String::new(), id.to_string(), at));
        let revocations = sessions.chain(accounts).map(|(session_id, inactive_user_id, at)| pb::Revocation {
            session_id,
            inactive_user_id,
            at: Some(timestamp::to_protobuf(at)),
        });
        Ok(Response::new(pb::ListRevocationsResponse { revocations: revocations.collect() }))
    }

    async fn get_me(&self, request: Request<pb::GetMeRequest>) -> Result<Response<pb::User>, Status> {
        let (_, session) = self.present(&request).await?;
        Ok(Response::new(to_pb_user(session.user)))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        let (_, session) = self.session(&request, Role::User).await?;
        let request = request.into_inner();
        let now = self.clock.now();
        let key = self.key(&session, &request.idempotency_key, &[&request.current_password, &request.new_password])?;
        let (current, new) = (request.current_password.into(), request.new_password.into());
        let admitted = self.limits.admit_again(session.user.id, now).await?;
        let changed =
            changes::change_password(&self.store, &self.hasher, &session, current, new, key.as_ref(), now).await;
        let Replayed(replayed) = match changed {
            Err(fault) if fault.code() == changes::WRONG_PASSWORD => return Err(admitted.wrong(fault).into()),
            checked => {
                admitted.not_checked().await;
                checked?
            }
        };
        self.bell.ring();
        Ok(Response::new(pb::ChangePasswordResponse { replayed }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let (_, session) = self.session(&request, Role::User).await?;
        let all =
            sessions::list(&self.store, session.user.id, self.clock.now()).await.map_err(turnpike_store::fault)?;
        let sessions = all.into_iter().map(|one| to_pb_session(one, Some(&session))).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions }))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        let (_, session) = self.session(&request, Role::User).await?;
        let id = request.into_inner().session_id.parse().map_err(|_| SessionError::NotFound)?;
        sessions::end(&self.store, session.user.id, id, EndReason::Revoked, self.clock.now()).await?;
        self.bell.ring();
        Ok(Response::new(pb::EndSessionResponse {}))
    }

    async fn create_ticket(&self, request: Request<pb::CreateTicketRequest>) -> Result<Response<pb::Ticket>, Status> {
        let (_, session) = self.present(&request).await?;
        let ticket = tickets::issue(&self.store, &session, self.clock.now()).await.map_err(Fault::from)?;
        Ok(Response::new(pb::Ticket { ticket, expires_in: tickets::LIFE.as_secs() as u32 }))
    }

    async fn name_users(
        &self,
        request: Request<pb::NameUsersRequest>,
    ) -> Result<Response<pb::NameUsersResponse>, Status> {
        self.present(&request).await?;
        let pb::NameUsersRequest { user_ids, usernames } = request.into_inner();
        if user_ids.len() + usernames.len() > names::MOST {
            let fault = Fault::new(Kind::Validation, "Too many users at once");
            return Err(fault.field("user_ids", format!("must be at most {} with usernames", names::MOST)).into());
        }
        let not_an_id =
            |_| Fault::new(Kind::Validation, "A user id is not valid").field("user_ids", "must be ids of users");
        let ids = user_ids.iter().map(|id| parse_user_id(id).map_err(not_an_id)).collect::<Result<Vec<_>, _>>()?;
        let found = names::of(&self.store, &ids, &usernames).await.map_err(turnpike_store::fault)?;
        let users = found.into_iter().map(|one| pb::UserName { user_id: one.id, username: one.username }).collect();
        Ok(Response::new(pb::NameUsersResponse { users }))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersResponse>, Status> {
        self.session(&request, Role::Admin).await?;
        let request = request.into_inner();
        let page = Page::new(request.limit, &request.cursor)?;
        let rows = users::list(&self.store, page.cursor, page.rows()).await?;
        let (users, next_cursor) = page.cut(rows, |user| user.id);
        let users = users.into_iter().map(to_pb_user).collect();
        Ok(Response::new(pb::ListUsersResponse { users, next_cursor }))
    }

    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Result<Response<pb::User>, Status> {
        self.session(&request, Role::Admin).await?;
        let id = parse_user_id(&request.into_inner().user_id)?;
        Ok(Response::new(to_pb_user(users::get(&self.store, id).await?)))
    }

    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Result<Response<pb::CreateUserResponse>, Status> {
        let (_, session) = self.session(&request, Role::Admin).await?;
        let request = request.into_inner();
        let role = match request.role {
            0 => Role::User,
            given => parse_role(given)?,
        };
        let pb::CreateUserRequest { email, username, password, display_name, idempotency_key, .. } = request;
        let key =
            self.key(&session, &idempotency_key, &[&email, &username, &password, role.as_str(), &display_name])?;
        let new = New { email, username, display_name, role, key };
        let now = self.clock.now();
        let (user, Replayed(replayed)) = users::register(&self.store, &self.hasher, &new, password.into(), now).await?;
        Ok(Response::new(pb::CreateUserResponse { user: Some(to_pb_user(user)), replayed }))
    }

    async fn update_user(&self, request: Request<pb::UpdateUserRequest>) -> Result<Response<pb::User>, Status> {
        self.session(&request, Role::Admin).await?;
        let request = request.into_inner();
        let id = parse_user_id(&request.user_id)?;
        let change = Change {
            role: request.role.map(parse_role).transpose()?,
            active: request.active,
            display_name: request.display_name,
            password: request.password.map(SecretString::from),
        };
        let user = changes::update(&self.store, &self.hasher, id, change, self.clock.now()).await?;
        self.bell.ring();
        Ok(Response::new(to_pb_user(user)))
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        self.session(&request, Role::Admin).await?;
        let id = parse_user_id(&request.into_inner().user_id)?;
        changes::delete(&self.store, id, self.clock.now()).await?;
        self.bell.ring();
        Ok(Response::new(pb::DeleteUserResponse {}))
    }

    async fn list_user_sessions(
        &self,
        request: Request<pb::ListUserSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let (_, session) = self.session(&request, Role::Admin).await?;
        let id = parse_user_id(&request.into_inner().user_id)?;
        users::get(&self.store, id).await?;
        let all = sessions::list(&self.store, id, self.clock.now()).await.map_err(turnpike_store::fault)?;
        let sessions = all.into_iter().map(|one| to_pb_session(one, Some(&session))).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions }))
    }

    async fn end_user_sessions(
        &self,
        request: Request<pb::EndUserSessionsRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        self.session(&request, Role::Admin).await?;
        let id = parse_user_id(&request.into_inner().user_id)?;
        changes::end_sessions(&self.store, id, self.clock.now()).await?;
        self.bell.ring();
        Ok(Response::new(pb::EndSessionResponse {}))
    }
}

/// `None` if the credential belongs to no active session. A failure of the database stays a failure.
fn known<T>(found: Result<T, SessionError>) -> Result<Option<T>, SessionError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error @ SessionError::Database(_)) => Err(error),
        Err(SessionError::Over | SessionError::Inactive | SessionError::NotFound) => Ok(None),
    }
}
