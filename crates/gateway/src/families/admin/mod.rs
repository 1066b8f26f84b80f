//! `/api/admin`: accounts and the health of the deployment. The routes need the role admin; auth checks the role again.

mod services;
mod users;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::get_user, users::update_user, users::delete_user))
        .routes(routes!(users::list_sessions, users::end_sessions))
        .routes(routes!(services::services))
}
