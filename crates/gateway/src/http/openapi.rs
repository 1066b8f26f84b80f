//! The OpenAPI description: the parts that are the same for every operation.

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware,
    routing::get,
};
use bytes::Bytes;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Schema,
        path::{Operation, Parameter, ParameterIn},
        schema::{SchemaType, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{console, idempotency::KEY_PATTERN, problem::ProblemBody};
use crate::{
    access::credentials::COOKIE,
    families::openai::{self, ErrorBody},
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Turnpike", description = "Commands to vehicles, conversations with language models, rooms of people, captions of speech, and the events that they produce.\n\n\
        `GET /ws`, `GET /ws/responses/{command_id}` and `GET /ws/rooms/{room_id}` are WebSockets; the README describes them."),
    modifiers(&Credentials)
)]
pub(crate) struct Description;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An access token, or an API key `tp_…` on the routes that its scopes allow"))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(COOKIE));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
        let either = ["bearer", "cookie"].map(|name| SecurityRequirement::new(name, Vec::<String>::new()));
        openapi.security = Some(either.to_vec());
    }
}

/// Completes every operation: a unique id, the errors that all operations of its kind have, a description of each status, and the
/// media type of errors.
pub(crate) fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    // A path parameter that may contain slashes is written differently in routes.
    let paths = std::mem::take(&mut openapi.paths.paths);
    openapi.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for item in openapi.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().for_each(complete_operation);
    }
}

fn complete_operation(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
    operation.operation_id = operation.operation_id.take().map(|id| format!("{tag}_{id}"));
    for parameter in operation.parameters.iter_mut().flatten() {
        // An optional parameter can be absent. It cannot be null.
        if let RefOr::T(parameter) = parameter
            && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
        {
            not_null(schema);
            if parameter.name == "Idempotency-Key" {
                schema.pattern = Some(KEY_PATTERN.to_owned());
                (schema.min_length, schema.max_length) = (Some(1), Some(255));
            }
        }
    }
    let checked = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in != ParameterIn::Path);
    let mut failures = vec!["500", "503", "504"];
    if operation.security.is_none() {
        // API keys have scopes and limits on every route.
        failures.extend(["401", "403", "429"]);
    }
    if operation.parameters.iter().flatten().any(checked) {
        failures.push("422");
    }
    if operation.request_body.is_some() {
        failures.extend(["408", "413", "422"]);
    }
    let is_openai = tag == openai::TAG;
    let responses = &mut operation.responses.responses;
    for status in failures {
        responses.entry(status.to_owned()).or_insert_with(|| problem(is_openai));
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        if response.description.is_empty() {
            response.description = meaning(status).to_owned();
        }
        if !is_openai
            && status.starts_with(['4', '5'])
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
}

fn problem(is_openai: bool) -> RefOr<Response> {
    let (media_type, schema) = match is_openai {
        true => ("application/json", ErrorBody::name()),
        false => (PROBLEM, ProblemBody::name()),
    };
    let schema = Ref::from_schema_name(schema);
    ResponseBuilder::new().content(media_type, ContentBuilder::new().schema(Some(schema)).build()).build().into()
}

fn not_null(object: &mut Object) {
    if let SchemaType::Array(types) = &mut object.schema_type {
        types.retain(|r#type| *r#type != Type::Null);
        if let [only] = types.as_slice() {
            object.schema_type = SchemaType::Type(only.clone());
        }
    }
}

/// `/api/openapi.json`, which is encoded once, and `/docs`.
pub(crate) fn routes(openapi: &utoipa::openapi::OpenApi) -> Router {
    let json = Bytes::from(openapi.to_json().expect("a description of ours is JSON"));
    let description =
        async move || ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json.clone());
    let docs: Router = SwaggerUi::new("/docs").config(Config::from("/api/openapi.json")).into();
    Router::new()
        .route("/api/openapi.json", get(description))
        .merge(docs.layer(middleware::map_response(console::docs_policy)))
}

const PROBLEM: &str = "application/problem+json";

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "OK",
        "201" => "Created",
        "204" => "No content",
        "400" => "The request is not valid; the problem names the field",
        "401" => "Missing, invalid or expired credential",
        "403" => {
            "The role or the scopes of the API key are not sufficient, the route does not accept API keys, or a request with the session cookie came from another origin"
        }
        "404" => "Not found, or it belongs to another user",
        "408" => "The body did not arrive in time",
        "409" => "Conflict with the current state; `code` identifies the conflict",
        "413" => "The body is too long",
        "422" => "The request does not have the right shape; the problem names the field",
        "429" => "Too many requests; `Retry-After` has the seconds to wait",
        "500" => "A defect of the server, logged under `request_id`",
        "503" => "A required service is unavailable; `Retry-After`, if present, has the seconds to wait",
        "504" => "A service did not answer in time",
        _ => "See `code`",
    }
}
