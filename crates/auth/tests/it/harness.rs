//! A running auth service, and actions of users.

use std::{path::PathBuf, time::Duration};

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tonic::{Code, Status};
use turnpike_auth::{Config, Deps, Service};
use turnpike_bus::{Bus, Delivery, Follower, From, Limits};
use turnpike_event::{AccountEvent, Body, EndReason, Event};
use turnpike_fault::Fault;
use turnpike_identity::AccessToken;
use turnpike_kit::{Clock, ClockControl, Environment, Process};
use turnpike_proto::auth::v1::{
    self as pb, api_key_service_client::ApiKeyServiceClient, auth_service_client::AuthServiceClient,
};
use turnpike_rpc::Transport;
use turnpike_testkit::{Database, within};
use turnpike_topic::{SessionId, Topic, UserId};

/// The password of every account of the tests, also of the first admin.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The password to which tests change it.
pub(crate) const OTHER_PASSWORD: &str = "tourmaline kettle orbit 94";

pub(crate) type Client = AuthServiceClient<Transport>;

/// The configuration of a harness; the default fits most tests.
pub(crate) struct Setup {
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) bus: Bus,
}

impl Default for Setup {
    fn default() -> Self {
        let variables = vec![
            ("TURNPIKE_ADMIN_PASSWORD", PASSWORD.to_owned()),
            ("TURNPIKE_LIMIT_LOGINS_PER_MINUTE", "0".to_owned()),
        ];
        Self { variables, bus: Bus::memory(Limits::default()) }
    }
}

impl Setup {
    /// With another value for a variable; an empty value removes it.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Starts the service, or returns why it does not start.
    pub(crate) async fn start(self, database: &Database) -> anyhow::Result<Harness> {
        self.start_at(database.url()).await
    }

    /// The same with another URL of the database.
    pub(crate) async fn start_at(self, url: &str) -> anyhow::Result<Harness> {
        let data = TempDir::new()?;
        let start = "2025-11-21T09:00:00Z".parse()?;
        let (clock, hand) = Clock::controlled(start);
        let (process, service) = begin(&self, url, data.path().to_owned(), clock.clone()).await?;
        Ok(Harness { setup: self, url: url.to_owned(), data, clock, hand, process, service })
    }
}

async fn begin(setup: &Setup, url: &str, data: PathBuf, clock: Clock) -> anyhow::Result<(Process, Service)> {
    let data = data.display().to_string();
    let own = [("TURNPIKE_AUTH_DATABASE_URL", url.to_owned()), ("TURNPIKE_DATA_DIR", data)];
    let process = Process::new(Environment::new(setup.variables.iter().cloned().chain(own))?, clock)?;
    let service = Service::bind(Config::new(&process.env)?, &process, Deps { bus: setup.bus.clone() }).await?;
    Ok((process, service))
}

/// A service with its database, directory, clock and bus.
pub(crate) struct Harness {
    setup: Setup,
    url: String,
    pub(crate) data: TempDir,
    pub(crate) clock: Clock,
    hand: ClockControl,
    pub(crate) process: Process,
    pub(crate) service: Service,
}

impl Harness {
    /// With the default configuration.
    pub(crate) async fn new(database: &Database) -> Self {
        Setup::default().start(database).await.expect("a service")
    }

    /// Ends the service and starts it again on the same database, directory and bus.
    pub(crate) async fn restart(&mut self) {
        assert!(self.process.stop(Duration::from_secs(5)).await, "every task finishes");
        let data = self.data.path().to_owned();
        (self.process, self.service) =
            begin(&self.setup, &self.url, data, self.clock.clone()).await.expect("a service again");
    }

    /// Another instance on the same database, directory and bus.
    pub(crate) async fn second_instance(&self) -> (Process, Service) {
        begin(&self.setup, &self.url, self.data.path().to_owned(), self.clock.clone()).await.expect("a second instance")
    }

    /// Another instance on the same database and directory, with its own connection to the bus.
    pub(crate) async fn second_instance_on(&self, bus: Bus) -> (Process, Service) {
        let setup = Setup { variables: self.setup.variables.clone(), bus };
        begin(&setup, &self.url, self.data.path().to_owned(), self.clock.clone()).await.expect("a second instance")
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.setup.bus
    }

    /// Uses another bus from the next start on.
    pub(crate) fn take_bus(&mut self, bus: Bus) {
        self.setup.bus = bus;
    }

    pub(crate) fn client(&self) -> Client {
        AuthServiceClient::new(Transport::direct(self.service.routes()))
    }

    pub(crate) fn api_keys(&self) -> ApiKeyServiceClient<Transport> {
        ApiKeyServiceClient::new(Transport::direct(self.service.routes()))
    }

    /// Advances the clock.
    pub(crate) fn pass(&self, seconds: u64) {
        self.hand.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn sign_in(&self, identifier: &str, password: &str) -> Result<pb::LoginResponse, Status> {
        self.sign_in_from("192.0.2.7", identifier, password).await
    }

    pub(crate) async fn sign_in_from(
        &self,
        address: &str,
        identifier: &str,
        password: &str,
    ) -> Result<pb::LoginResponse, Status> {
        self.client().login(login_request(address, identifier, password)).await.map(tonic::Response::into_inner)
    }

    /// A session of the first admin.
    pub(crate) async fn admin(&self) -> SignedIn {
        self.enter("admin").await
    }

    /// A session of an account with the password of tests.
    pub(crate) async fn enter(&self, username: &str) -> SignedIn {
        let answer = self.sign_in(username, PASSWORD).await.expect("a session");
        let tokens = answer.tokens.expect("tokens");
        SignedIn {
            client: self.client(),
            api_keys: self.api_keys(),
            access: AccessToken::new(tokens.access_token),
            refresh: tokens.refresh_token,
            cookie: answer.session_token,
            user: answer.user.expect("a user"),
        }
    }

    /// Creates an account; its address is `<username>@example.com`.
    pub(crate) async fn create(&self, username: &str, role: pb::Role) -> pb::User {
        let admin = self.admin().await;
        let made = admin.create(username, &format!("{username}@example.com"), role).await.expect("an account");
        admin.log_out().await;
        made
    }

    pub(crate) async fn refresh(&self, token: &str) -> Result<pb::TokenPair, Status> {
        let request = pb::RefreshRequest { refresh_token: token.to_owned() };
        self.client().refresh(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn exchange(&self, cookie: &str) -> Result<String, Status> {
        let request = pb::ExchangeSessionRequest { session_token: cookie.to_owned() };
        self.client().exchange_session(request).await.map(|answer| answer.into_inner().access_token)
    }

    pub(crate) async fn redeem(&self, ticket: &str) -> Result<String, Status> {
        let request = pb::RedeemTicketRequest { ticket: ticket.to_owned() };
        self.client().redeem_ticket(request).await.map(|answer| answer.into_inner().access_token)
    }

    /// Exchanges a text as if it were an API key, also one that no gateway would send on.
    pub(crate) async fn exchange_api_key(&self, text: &str) -> Result<String, Status> {
        let request = pb::ExchangeApiKeyRequest { key_sha256: Sha256::digest(text).to_vec() };
        self.api_keys().exchange_api_key(request).await.map(|answer| answer.into_inner().access_token)
    }

    /// A one-time sign-in code, as the process that runs everything issues it.
    pub(crate) async fn one_time_code(&self) -> String {
        let issued = self.service.one_time_code().await.expect("a database").expect("an active admin");
        issued.code.expose_secret().to_owned()
    }

    pub(crate) async fn one_time_link_code(&self) -> String {
        let issued = self.service.one_time_link_code().await.expect("a database").expect("an active admin");
        issued.code.expose_secret().to_owned()
    }

    pub(crate) async fn redeem_code(&self, code: &str) -> Result<pb::LoginResponse, Status> {
        let request = pb::RedeemOneTimeCodeRequest {
            code: code.to_owned(),
            client_ip: "127.0.0.1".to_owned(),
            user_agent: "a test".to_owned(),
        };
        self.client().redeem_one_time_code(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn me(&self, token: &str) -> Result<pb::User, Status> {
        let request = AccessToken::new(token).request(pb::GetMeRequest {});
        self.client().get_me(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn revocations(&self) -> Vec<pb::Revocation> {
        let answer = self.client().list_revocations(pb::ListRevocationsRequest {}).await;
        answer.expect("the revocations").into_inner().revocations
    }

    /// Follows the events for gateways from now on.
    pub(crate) async fn listen(&self) -> BusListener {
        BusListener::on(&self.setup.bus).await
    }
}

/// A user with a session.
pub(crate) struct SignedIn {
    client: Client,
    api_keys: ApiKeyServiceClient<Transport>,
    pub(crate) access: AccessToken,
    pub(crate) refresh: String,
    pub(crate) cookie: String,
    pub(crate) user: pb::User,
}

impl SignedIn {
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn user_id(&self) -> UserId {
        self.user.id.parse().expect("an id")
    }

    pub(crate) async fn me(&self) -> Result<pb::User, Status> {
        self.client().get_me(self.access.request(pb::GetMeRequest {})).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn sessions(&self) -> Result<Vec<pb::Session>, Status> {
        let answer = self.client().list_sessions(self.access.request(pb::ListSessionsRequest {})).await?;
        Ok(answer.into_inner().sessions)
    }

    pub(crate) async fn session_id(&self) -> SessionId {
        let sessions = self.sessions().await.expect("the sessions");
        let mine = sessions.iter().find(|session| session.current).expect("the session of this call");
        mine.id.parse().expect("an id")
    }

    pub(crate) async fn end_session(&self, id: &str) -> Result<(), Status> {
        let request = self.access.request(pb::EndSessionRequest { session_id: id.to_owned() });
        self.client().end_session(request).await.map(|_| ())
    }

    pub(crate) async fn ticket(&self) -> Result<String, Status> {
        let answer = self.client().create_ticket(self.access.request(pb::CreateTicketRequest {})).await?;
        Ok(answer.into_inner().ticket)
    }

    pub(crate) async fn create_api_key(
        &self,
        request: pb::CreateApiKeyRequest,
    ) -> Result<pb::CreateApiKeyResponse, Status> {
        let request = self.access.request(request);
        self.api_keys.clone().create_api_key(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn api_keys(&self) -> Result<Vec<pb::ApiKey>, Status> {
        let answer = self.api_keys.clone().list_api_keys(self.access.request(pb::ListApiKeysRequest {})).await?;
        Ok(answer.into_inner().api_keys)
    }

    pub(crate) async fn revoke_api_key(&self, id: &str) -> Result<(), Status> {
        let request = self.access.request(pb::RevokeApiKeyRequest { id: id.to_owned() });
        self.api_keys.clone().revoke_api_key(request).await.map(|_| ())
    }

    pub(crate) async fn log_out(&self) {
        let request = self.access.request(pb::LogoutRequest::default());
        self.client().logout(request).await.expect("always");
    }

    /// Returns whether the answer is that of an earlier request.
    pub(crate) async fn change_password_once(&self, current: &str, new: &str, key: &str) -> Result<bool, Status> {
        let request = pb::ChangePasswordRequest {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
            idempotency_key: key.to_owned(),
        };
        Ok(self.client().change_password(self.access.request(request)).await?.into_inner().replayed)
    }

    pub(crate) async fn change_password(&self, current: &str, new: &str) -> Result<(), Status> {
        self.change_password_once(current, new, "").await.map(|_| ())
    }

    pub(crate) async fn create(&self, username: &str, email: &str, role: pb::Role) -> Result<pb::User, Status> {
        let request = pb::CreateUserRequest {
            email: email.to_owned(),
            username: username.to_owned(),
            password: PASSWORD.to_owned(),
            role: role.into(),
            ..Default::default()
        };
        let answer = self.client().create_user(self.access.request(request)).await?.into_inner();
        Ok(answer.user.expect("a user"))
    }

    pub(crate) async fn update(&self, request: pb::UpdateUserRequest) -> Result<pb::User, Status> {
        self.client().update_user(self.access.request(request)).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn set_active(&self, user: &pb::User, active: bool) -> Result<pb::User, Status> {
        let user_id = user.id.clone();
        self.update(pb::UpdateUserRequest { user_id, active: Some(active), ..Default::default() }).await
    }

    pub(crate) async fn set_role(&self, user: &pb::User, role: pb::Role) -> Result<pb::User, Status> {
        let user_id = user.id.clone();
        self.update(pb::UpdateUserRequest { user_id, role: Some(role.into()), ..Default::default() }).await
    }

    pub(crate) async fn delete(&self, user: &pb::User) -> Result<(), Status> {
        let request = self.access.request(pb::DeleteUserRequest { user_id: user.id.clone() });
        self.client().delete_user(request).await.map(|_| ())
    }
}

/// Follows the events for gateways.
pub(crate) struct BusListener(Follower);

impl BusListener {
    /// Follows the topic; every event after this returns is received.
    pub(crate) async fn on(bus: &Bus) -> Self {
        let mut follower = bus.follow(Topic::Sessions, From::Live);
        within("the bus to be followed", 5, async {
            while !matches!(follower.next().await, Delivery::CaughtUp { .. }) {}
        })
        .await;
        Self(follower)
    }

    pub(crate) async fn next_event(&mut self) -> Body {
        within("an event on the bus", 10, async {
            loop {
                if let Delivery::Record(record) = self.0.next().await {
                    return Event::from_bytes(record.event).body;
                }
            }
        })
        .await
    }

    /// Waits for the event that this session ended; returns the reason.
    pub(crate) async fn end_of(&mut self, session: SessionId) -> EndReason {
        loop {
            if let Body::Account(AccountEvent::SessionEnded { session_id, reason, .. }) = self.next_event().await
                && session_id == session
            {
                return reason;
            }
        }
    }
}

pub(crate) fn login_request(address: &str, identifier: &str, password: &str) -> pb::LoginRequest {
    pb::LoginRequest {
        identifier: identifier.to_owned(),
        password: password.to_owned(),
        client_ip: address.to_owned(),
        user_agent: "a test".to_owned(),
    }
}

/// The stable code of a refusal.
pub(crate) fn code(status: &Status) -> String {
    Fault::from(status).code().to_owned()
}

/// Asserts a refusal.
#[track_caller]
pub(crate) fn refused<T>(answer: Result<T, Status>, grpc: Code, word: &str) {
    let Err(status) = answer else { panic!("not refused; {word} was expected") };
    assert_eq!((status.code(), code(&status).as_str()), (grpc, word), "{status:?}");
}
