//! Budgets of tokens: of a user in a day and in a month, of an API key in a day. All in UTC.
//!
//! A request is refused when a budget is used up before it begins; requests that run at the same time can exceed it together by
//! their own tokens.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use sqlx::Row;
use turnpike_fault::{Fault, Kind};
use turnpike_store::Store;
use turnpike_token::ApiKeyClaims;
use turnpike_topic::UserId;

use crate::{Limits, usage::day_of};

/// The API key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: String,
    /// 0: no limit.
    pub tokens_per_day: u64,
}

impl From<ApiKeyClaims> for ApiKey {
    fn from(claims: ApiKeyClaims) -> Self {
        Self { id: claims.id.to_string(), tokens_per_day: claims.tokens_per_day.unwrap_or(0) }
    }
}

/// Why a request may not begin.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    #[error("the budget of {limit} tokens a {period} is used up until {renews_at}")]
    UsedUp { limit: u64, period: &'static str, renews_at: Timestamp, now: Timestamp },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The tokens that were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub day: u64,
    pub month: u64,
    /// By the API key, in the day.
    pub key: u64,
}

/// Checks that no budget is used up.
pub async fn check(
    store: &Store,
    limits: &Limits,
    user_id: UserId,
    key: Option<&ApiKey>,
    now: Timestamp,
) -> Result<(), BudgetError> {
    let key_limit = key.map_or(0, |key| key.tokens_per_day);
    if limits.tokens_per_day == 0 && limits.tokens_per_month == 0 && key_limit == 0 {
        return Ok(());
    }
    let used = used(store, user_id, key.map(|key| key.id.as_str()), now).await?;
    let budgets = [
        (used.month, limits.tokens_per_month, "month", next_month(now)),
        (used.day, limits.tokens_per_day, "day", next_day(now)),
        (used.key, key_limit, "day for this API key", next_day(now)),
    ];
    match budgets.into_iter().find(|(used, limit, ..)| *limit > 0 && used >= limit) {
        Some((_, limit, period, renews_at)) => Err(BudgetError::UsedUp { limit, period, renews_at, now }),
        None => Ok(()),
    }
}

/// The tokens that a user, and one of their API keys, used in this day and month.
pub async fn used(store: &Store, user_id: UserId, key: Option<&str>, now: Timestamp) -> Result<Used, sqlx::Error> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(prompt_tokens + completion_tokens), 0) AS BIGINT) AS month,
             CAST(COALESCE(SUM(CASE WHEN day >= $1 THEN prompt_tokens + completion_tokens ELSE 0 END), 0) AS BIGINT) AS today,
             CAST(COALESCE(SUM(CASE WHEN day >= $1 AND api_key_id = $2 THEN prompt_tokens + completion_tokens ELSE 0 END), 0)
                 AS BIGINT) AS by_key
         FROM usage_days WHERE user_id = $3 AND day >= $4",
    )
    .bind(day_of(now))
    .bind(key.unwrap_or_default())
    .bind(user_id.to_string())
    .bind(day_of(first_of_month(now)))
    .fetch_one(store.reader())
    .await?;
    let number = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    Ok(Used { day: number("today")?, month: number("month")?, key: number("by_key")? })
}

/// The beginning of the next day.
pub fn next_day(now: Timestamp) -> Timestamp {
    midnight(date(now).saturating_add(1.day()))
}

/// The beginning of the next month.
pub fn next_month(now: Timestamp) -> Timestamp {
    midnight(date(now).first_of_month().saturating_add(1.month()))
}

fn first_of_month(now: Timestamp) -> Timestamp {
    midnight(date(now).first_of_month())
}

fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn midnight(date: Date) -> Timestamp {
    date.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

impl From<BudgetError> for Fault {
    fn from(error: BudgetError) -> Self {
        match error {
            BudgetError::UsedUp { limit, period, renews_at, now } => {
                let detail = format!("The budget of {limit} tokens a {period} is used up; it renews at {renews_at}");
                let left = renews_at.duration_since(now).unsigned_abs();
                Self::new(Kind::RateLimited, detail).code_is("BUDGET_EXCEEDED").retry_after(left)
            }
            BudgetError::Database(error) => turnpike_store::fault(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_renew_at_midnight_utc_and_on_the_first_of_a_month() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(next_day(at("2026-02-28T23:59:59Z")), at("2026-03-01T00:00:00Z"));
        assert_eq!(next_month(at("2026-12-31T12:00:00Z")), at("2027-01-01T00:00:00Z"));
        assert_eq!(next_month(at("2026-03-01T00:00:00Z")), at("2026-04-01T00:00:00Z"));
        assert_eq!(first_of_month(at("2028-02-29T10:00:00Z")), at("2028-02-01T00:00:00Z"));
        assert_eq!(day_of(at("1970-01-02T00:00:00Z")), 1);
    }
}
