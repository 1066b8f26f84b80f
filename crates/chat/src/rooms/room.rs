//! Rooms as they are stored, as one user sees them. A deleted room whose messages are still being removed has no visibility, so that
//! every statement here misses it.

use jiff::Timestamp;
use sqlx::{Any, AnyConnection, Executor, Row, any::AnyRow};
use turnpike_store::{Store, from_micros};
use turnpike_topic::{RoomId, UserId};

use crate::conversations::corrupt_column;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) visibility: Visibility,
    /// Messages about one's health may get an insight.
    pub(crate) insights: bool,
    pub(crate) created_by: UserId,
    pub(crate) members: i64,
    /// Number of the newest message.
    pub(crate) last_seq: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Of the user who sees the room; `None`: no member.
    pub(crate) role: Option<Role>,
    /// Number of the newest message that this user has read.
    pub(crate) read_seq: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// Every user may see and join it.
    Public,
    /// Only members may see it.
    Private,
}

/// Each role includes the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Member,
    Moderator,
    Owner,
}

impl Visibility {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Public, Self::Private].into_iter().find(|visibility| visibility.as_str() == word)
    }
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Moderator => "moderator",
            Self::Owner => "owner",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Member, Self::Moderator, Self::Owner].into_iter().find(|role| role.as_str() == word)
    }
}

impl Room {
    /// Messages that the user has not read.
    pub(crate) fn unread(&self) -> i64 {
        if self.role.is_some() { self.last_seq - self.read_seq } else { 0 }
    }

    pub(crate) fn is_at_least(&self, role: Role) -> bool {
        self.role >= Some(role)
    }
}

const SEEN: &str = "SELECT r.id, r.name, r.description, r.visibility, r.insights, r.created_by, r.members, r.last_seq, \
    r.created_at, r.updated_at, m.role, m.read_seq \
    FROM rooms r LEFT JOIN room_members m ON m.room_id = r.id AND m.user_id = $1 \
    WHERE r.visibility <> '' AND (r.visibility = 'public' OR m.role IS NOT NULL)";

fn room(row: &AnyRow) -> Result<Room, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let role: Option<String> = row.try_get("role")?;
    Ok(Room {
        id: text("id")?.parse().map_err(|_| corrupt_column("id"))?,
        name: text("name")?,
        description: text("description")?,
        visibility: Visibility::from_word(&text("visibility")?).ok_or_else(|| corrupt_column("visibility"))?,
        insights: row.try_get::<i64, _>("insights")? == 1,
        created_by: text("created_by")?.parse().map_err(|_| corrupt_column("created_by"))?,
        members: row.try_get("members")?,
        last_seq: row.try_get("last_seq")?,
        created_at: from_micros(row.try_get("created_at")?),
        updated_at: from_micros(row.try_get("updated_at")?),
        role: role.map(|word| Role::from_word(&word).ok_or_else(|| corrupt_column("role"))).transpose()?,
        read_seq: row.try_get::<Option<i64>, _>("read_seq")?.unwrap_or_default(),
    })
}

/// `None` also if the user may not see the room.
pub(crate) async fn get(store: &Store, id: RoomId, user: UserId) -> Result<Option<Room>, sqlx::Error> {
    seen(store.reader(), id, user).await
}

/// Like [`get`], within a transaction, until whose end no other transaction changes the room.
pub(super) async fn locked(on: &mut AnyConnection, id: RoomId, user: UserId) -> Result<Option<Room>, sqlx::Error> {
    sqlx::query("UPDATE rooms SET last_seq = last_seq WHERE id = $1").bind(id.to_string()).execute(&mut *on).await?;
    seen(on, id, user).await
}

pub(super) async fn seen<'e>(
    on: impl Executor<'e, Database = Any>,
    id: RoomId,
    user: UserId,
) -> Result<Option<Room>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SEEN} AND r.id = $2")))
        .bind(user.to_string())
        .bind(id.to_string())
        .fetch_optional(on)
        .await?;
    row.as_ref().map(room).transpose()
}

/// The rooms of a user, and unless `joined` all public ones, newest first, behind this one.
pub(crate) async fn list(
    store: &Store,
    user: UserId,
    joined: bool,
    after: Option<RoomId>,
    rows: u32,
) -> Result<Vec<Room>, sqlx::Error> {
    // Each part is read in the order of its index, as far as the page needs.
    let own = "SELECT id FROM (SELECT o.room_id AS id FROM room_members o JOIN rooms d ON d.id = o.room_id \
        WHERE o.user_id = $1 AND o.room_id < $2 AND d.visibility <> '' ORDER BY o.room_id DESC LIMIT $3) own";
    let public = "UNION SELECT id FROM (SELECT id FROM rooms WHERE visibility = 'public' AND id < $2 \
        ORDER BY id DESC LIMIT $3) public";
    let public = if joined { "" } else { public };
    let sql = format!("{SEEN} AND r.id IN ({own} {public}) ORDER BY r.id DESC LIMIT $3");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(user.to_string())
        .bind(after.map_or_else(|| "g".to_owned(), |id| id.to_string())) // no id begins with g or a later letter
        .bind(i64::from(rows))
        .fetch_all(store.reader())
        .await?;
    rows.iter().map(room).collect()
}
