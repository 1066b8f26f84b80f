//! `/api/vehicles` and `/api/commands`.

mod commands;
mod states;
mod vehicles;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(vehicles::list))
        .routes(routes!(vehicles::get))
        .routes(routes!(vehicles::status))
        .routes(routes!(commands::list, commands::submit))
        .routes(routes!(commands::get))
        .routes(routes!(commands::responses))
        .routes(routes!(commands::cancel))
}
