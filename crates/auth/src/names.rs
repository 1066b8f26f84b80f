//! Which username belongs to which account: for those who see an id and need a name, or know a name and need its id.

use sqlx::Row;
use turnpike_store::Store;
use turnpike_topic::UserId;

use crate::users;

/// How many can be asked for at once.
pub(crate) const MOST: usize = 100;

/// An account's id and its username.
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) username: String,
}

/// The accounts with these ids or usernames. Unknown ones are absent.
pub(crate) async fn of(store: &Store, ids: &[UserId], usernames: &[String]) -> Result<Vec<Named>, sqlx::Error> {
    let ids = ids.iter().map(ToString::to_string).collect();
    let keys = usernames.iter().map(|name| users::key(name)).collect();
    let mut found = by(store, "id", ids).await?;
    found.extend(by(store, "username_key", keys).await?);
    Ok(found)
}

async fn by(store: &Store, column: &'static str, values: Vec<String>) -> Result<Vec<Named>, sqlx::Error> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<_> = (1..=values.len()).map(|n| format!("${n}")).collect();
    let sql =
        format!("SELECT id, username FROM users WHERE {column} IN ({}) AND deleted_at IS NULL", places.join(", "));
    let query = values.into_iter().fold(sqlx::query(sqlx::AssertSqlSafe(sql)), sqlx::query::Query::bind);
    let rows = query.fetch_all(store.reader()).await?;
    rows.iter().map(|row| Ok(Named { id: row.try_get("id")?, username: row.try_get("username")? })).collect()
}
