//! The ledger of tokens: one row for each day, user, API key and model.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use turnpike_store::{Store, Write};
use turnpike_topic::UserId;

/// The tokens of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    pub user_id: UserId,
    pub api_key_id: Option<String>,
    /// The model that answered.
    pub model: String,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// The server did not count them.
    pub estimated: bool,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    user_id: String,
    day: i64,
    api_key_id: String,
    model: String,
}

/// The numbers of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    requests: i64,
    prompt: i64,
    completion: i64,
    estimated: i64,
}

/// Numbers to be added to a row.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) sums: Sums,
}

/// The longest name of a model that is stored.
const MODEL: usize = 200;

impl Key {
    pub(crate) fn of(spent: &Spent, now: Timestamp) -> Self {
        Self {
            user_id: spent.user_id.to_string(),
            day: day_of(now),
            api_key_id: spent.api_key_id.clone().unwrap_or_default(),
            model: spent.model.chars().filter(|c| *c != '\0').take(MODEL).collect(),
        }
    }
}

impl Sums {
    pub(crate) fn of(spent: &Spent) -> Self {
        let number = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX).min(1 << 40);
        let (prompt, completion) = (number(spent.prompt_tokens), number(spent.completion_tokens));
        let estimated = if spent.estimated { prompt + completion } else { 0 };
        Self { requests: 1, prompt, completion, estimated }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.prompt += other.prompt;
        self.completion += other.completion;
        self.estimated += other.estimated;
    }
}

impl Write for Entry {
    type Output = ();

    async fn perform(entries: &[Self], on: &mut AnyConnection) -> Result<Vec<()>, sqlx::Error> {
        // One statement cannot change a row twice. The rows are locked in the order of their keys.
        let mut rows: BTreeMap<&Key, Sums> = BTreeMap::new();
        for entry in entries {
            rows.entry(&entry.key).or_default().add(entry.sums);
        }
        let rows: Vec<(&Key, Sums)> = rows.into_iter().collect();
        for part in turnpike_store::parts(&rows, 64) {
            let sql = format!(
                "INSERT INTO usage_days
                     (user_id, day, api_key_id, model, requests, prompt_tokens, completion_tokens, estimated_tokens)
                 VALUES {} ON CONFLICT (user_id, day, api_key_id, model) DO UPDATE SET
                     requests = usage_days.requests + excluded.requests,
                     prompt_tokens = usage_days.prompt_tokens + excluded.prompt_tokens,
                     completion_tokens = usage_days.completion_tokens + excluded.completion_tokens,
                     estimated_tokens = usage_days.estimated_tokens + excluded.estimated_tokens",
                turnpike_store::rows(part.len(), &[""; 8]),
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
            for (key, sums) in part {
                query = query
                    .bind(key.user_id.as_str())
                    .bind(key.day)
                    .bind(key.api_key_id.as_str())
                    .bind(key.model.as_str());
                query = query.bind(sums.requests).bind(sums.prompt).bind(sums.completion).bind(sums.estimated);
            }
            query.execute(&mut *on).await?;
        }
        Ok(vec![(); entries.len()])
    }
}

/// A stored row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageOfDay {
    /// Days since 1970, UTC.
    pub day: i64,
    pub model: String,
    /// Empty: not by an API key.
    pub api_key_id: String,
    pub requests: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub estimated_tokens: u64,
}

/// The rows of a user from one day to another, both included; the newest day first, at most `most`.
pub async fn between(
    store: &Store,
    user_id: UserId,
    days: std::ops::RangeInclusive<i64>,
    most: i64,
) -> Result<Vec<UsageOfDay>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT day, model, api_key_id, requests, prompt_tokens, completion_tokens, estimated_tokens FROM usage_days
         WHERE user_id = $1 AND day >= $2 AND day <= $3 ORDER BY day DESC, model, api_key_id LIMIT $4",
    )
    .bind(user_id.to_string())
    .bind(*days.start())
    .bind(*days.end())
    .bind(most)
    .fetch_all(store.reader())
    .await?;
    let number = |row: &sqlx::any::AnyRow, name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    rows.iter()
        .map(|row| {
            Ok(UsageOfDay {
                day: row.try_get("day")?,
                model: row.try_get("model")?,
                api_key_id: row.try_get("api_key_id")?,
                requests: number(row, "requests")?,
                prompt_tokens: number(row, "prompt_tokens")?,
                completion_tokens: number(row, "completion_tokens")?,
                estimated_tokens: number(row, "estimated_tokens")?,
            })
        })
        .collect()
}

/// Days since 1970, UTC.
pub fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}
