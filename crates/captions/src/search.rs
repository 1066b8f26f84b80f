//! Search over the transcripts of a user. Transcripts are files that are kept for days, so they are read when they are searched: there
//! is no index that could differ from them. One call reads a bounded part; its cursor says where the next one continues.

mod query;

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use tokio::sync::Semaphore;
use turnpike_topic::{CaptionsSessionId, UserId};

pub(crate) use self::query::Query;
use crate::session::{Kept, Registry, Session};

/// Bytes of transcripts that one call reads, about 60 hours of speech; one transcript is always read to its end.
const BYTES: u64 = 32 << 20;
/// Calls that read at the same time.
const AT_ONCE: usize = 2;

/// A final that was found.
pub(crate) struct Match {
    pub(crate) session: Arc<Session>,
    pub(crate) kept: Kept,
    pub(crate) snippet: String,
}

/// Where a search continues: in this session, after this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    session: CaptionsSessionId,
    segment: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.segment)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (session, segment) = text.split_once('.').ok_or(())?;
        Ok(Self { session: session.parse().map_err(|_| ())?, segment: segment.parse().map_err(|_| ())? })
    }
}

/// The finals of a user that a query finds, from a place on: those of the newest session first, in the order in which they were said.
pub(crate) async fn search(
    registry: &Registry,
    owner: UserId,
    query: &Query,
    from: Option<Place>,
    limit: usize,
) -> std::io::Result<(Vec<Match>, Option<Place>)> {
    static READING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));
    let _turn = READING.acquire().await.map_err(std::io::Error::other)?;
    let sessions = registry.list(owner, None, usize::MAX);
    let (mut found, mut bytes) = (Vec::new(), 0);
    for session in sessions.into_iter().skip_while(|session| from.is_some_and(|from| session.id() > from.session)) {
        let after = from.filter(|from| from.session == session.id()).map_or(0, |from| from.segment);
        if bytes >= BYTES {
            return Ok((found, Some(Place { session: session.id(), segment: after })));
        }
        let (finals, read) = registry.stored(&session).await?;
        bytes += read;
        for kept in finals.into_iter().filter(|kept| kept.segment > after) {
            let Some(snippet) = query.find(&kept.text).or_else(|| query.find(&kept.translation)) else { continue };
            if found.len() == limit {
                let last =
                    found.last().map(|last: &Match| Place { session: last.session.id(), segment: last.kept.segment });
                return Ok((found, last));
            }
            found.push(Match { session: session.clone(), kept, snippet });
        }
    }
    Ok((found, None))
}
