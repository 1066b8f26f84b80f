//! Lists of commands, newest first. Each combination of filters reads an index from its end and stops at the limit, so that the
//! time it takes does not depend on how many commands there are.

use jiff::Timestamp;
use turnpike_store::{Store, micros};
use turnpike_topic::{CommandId, UserId, VehicleId};
use uuid::Uuid;

use crate::{
    commands::{COLUMNS, Command, command},
    lifecycle::State,
};

/// Each filter is off when empty.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub user_id: Option<UserId>,
    pub vehicle_id: Option<VehicleId>,
    pub states: Vec<State>,
    /// Submitted at or after this time.
    pub since: Option<Timestamp>,
    /// Submitted before this time.
    pub until: Option<Timestamp>,
    /// Only commands older than this one.
    pub before: Option<CommandId>,
}

/// At most `limit` commands, newest first.
pub async fn list(store: &Store, filter: &Filter, limit: u32) -> Result<Vec<Command>, sqlx::Error> {
    let sql = sql(filter);
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(i64::from(limit));
    // The same order as in `sql`.
    let texts = [
        filter.user_id.map(|id| id.to_string()),
        filter.vehicle_id.map(|id| id.to_string()),
        filter.before.map(|id| id.to_string()),
        filter.since.map(|since| first_id(since, 0)),
        filter.until.map(|until| first_id(until, 1)),
    ];
    for text in texts.into_iter().flatten() {
        query = query.bind(text);
    }
    for time in [filter.since, filter.until].into_iter().flatten() {
        query = query.bind(micros(time));
    }
    query.fetch_all(store.reader()).await?.iter().map(command).collect()
}

fn sql(filter: &Filter) -> String {
    let mut conditions = String::new();
    let mut n = 1;
    let filters = [
        (filter.user_id.is_some(), "c.user_id ="),
        (filter.vehicle_id.is_some(), "c.vehicle_id ="),
        (filter.before.is_some(), "c.id <"),
        // An id begins with the millisecond of its submission: a range of times is a range of ids, which every index ends with.
        (filter.since.is_some(), "c.id >="),
        (filter.until.is_some(), "c.id <"),
        (filter.since.is_some(), "c.submitted_at >="),
        (filter.until.is_some(), "c.submitted_at <"),
    ];
    for (_, condition) in filters.iter().filter(|(wanted, _)| *wanted) {
        n += 1;
        conditions.push_str(&format!(" AND {condition} ${n}"));
    }
    let of =
        |state: &str| format!("SELECT {COLUMNS} FROM commands c WHERE {state}{conditions} ORDER BY c.id DESC LIMIT $1");
    match filter.states.as_slice() {
        [] => of("1 = 1"),
        [one] => of(&format!("c.state = '{}'", one.as_str())),
        // An index gives the order for one state only.
        several => {
            let parts = several.iter().map(|state| of(&format!("c.state = '{}'", state.as_str())));
            let parts: Vec<_> = parts.map(|part| format!("SELECT * FROM ({part}) AS part")).collect();
            format!("{} ORDER BY id DESC LIMIT $1", parts.join(" UNION ALL "))
        }
    }
}

/// The smallest id of the millisecond of a time, `later` milliseconds after it.
fn first_id(at: Timestamp, later: u64) -> String {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or_default() + later;
    Uuid::from_u128(u128::from(millis.min((1 << 48) - 1)) << 80).to_string()
}
