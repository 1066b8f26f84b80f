//! `api-keys create`, `list` and `revoke`.

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::api::Api;
use crate::cli;

const PATH: &str = "/api/auth/api-keys";

/// Prints the key, and nothing else on the standard output, so that it can be piped into a store of secrets.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints")]
pub(super) async fn create(mut api: Api, new: cli::NewApiKey) -> anyhow::Result<()> {
    let mut body = Map::from_iter([("name".to_owned(), json!(new.name))]);
    let mut set = |field: &str, value: Option<Value>| value.map(|value| body.insert(field.to_owned(), value));
    set("scopes", (!new.scopes.is_empty()).then(|| json!(new.scopes)));
    set("expires_in_days", new.expires_in_days.map(Value::from));
    set("requests_per_minute", new.requests_per_minute.map(Value::from));
    set("tokens_per_day", new.tokens_per_day.map(Value::from));
    let created = api.call(Method::POST, PATH, Some(&Value::Object(body))).await?;
    let key = created["key"].as_str().context("the gateway's answer has no key")?;
    eprintln!("{}", line(&created));
    eprintln!("Store the key now; it is not shown again:");
    println!("{key}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(super) async fn list(mut api: Api) -> anyhow::Result<()> {
    let keys = api.call(Method::GET, PATH, None).await?;
    for key in keys.as_array().into_iter().flatten() {
        println!("{}", line(key));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command that prints")]
pub(super) async fn revoke(mut api: Api, id: &str) -> anyhow::Result<()> {
    let well_formed = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    ensure!(well_formed, "{id} is not an id: `api-keys list` prints the ids of keys");
    api.call(Method::DELETE, &format!("{PATH}/{id}"), None).await?;
    println!("revoked {id}");
    Ok(())
}

/// One line about a key, without the key.
fn line(key: &Value) -> String {
    let text = |field: &str| key[field].as_str();
    let scopes: Vec<_> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut line = format!(
        "{}  {}…  {}  scopes {}  expires {}  last used {}",
        text("id").unwrap_or_default(),
        text("prefix").unwrap_or_default(),
        text("name").unwrap_or_default(),
        scopes.join(","),
        text("expires_at").unwrap_or("never"),
        text("last_used_at").unwrap_or("never"),
    );
    for (field, unit) in [("requests_per_minute", "requests a minute"), ("tokens_per_day", "tokens a day")] {
        if let Some(limit) = key[field].as_u64() {
            line.push_str(&format!("  {limit} {unit}"));
        }
    }
    line
}
