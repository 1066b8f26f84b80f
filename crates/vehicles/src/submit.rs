//! Submitting commands. Commands that arrive at the same time are inserted by one statement.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{AnyConnection, Error, Row};
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Store, Write,
    idempotency::{self, Known},
    limits::{Limit, Taken},
    micros, rows,
};
use turnpike_topic::CommandId;

use crate::{
    commands::{COLUMNS, Command, Open, command},
    leases::{FIRST_FENCE, LEASE},
    submission::{New, unknown_vehicle},
};

/// How long a connector has to accept a command.
const ACCEPT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub enum Submitted {
    /// The command is new, and this instance supervises it.
    New(Box<Open>),
    /// The command was submitted before under the same key.
    Before(Box<Command>),
}

#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("there is no such vehicle")]
    UnknownVehicle,
    #[error("another command that must not run twice is running on this control unit")]
    Busy,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The user has sent too many commands within a minute. The next one is accepted after this time.
    #[error("too many commands")]
    TooMany(Duration),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::UnknownVehicle => unknown_vehicle(),
            SubmitError::Busy => Self::new(
                Kind::Conflict,
                "Another command that must not run twice is running on this control unit; wait for its end",
            )
            .code_is("BUSY"),
            SubmitError::KeyReused => idempotency::reused(),
            SubmitError::TooMany(after) => {
                Self::new(Kind::RateLimited, "Too many commands within a minute").retry_after(after)
            }
            SubmitError::Database(error) => turnpike_store::fault(error),
        }
    }
}

/// Stores a command, to be supervised by this instance. A repeated request, and a request that is refused, does not count against
/// the limit.
pub async fn submit(store: &Store, new: New, limit: Option<Limit>, now: Timestamp) -> Result<Submitted, SubmitError> {
    let params = serde_json::Value::Object(new.request.params.clone()).to_string();
    let submission = Submission { id: CommandId::new(now), new, params, limit, now };
    match store.write(submission).await? {
        Outcome::Submitted(submitted) => Ok(submitted),
        Outcome::UnknownVehicle => Err(SubmitError::UnknownVehicle),
        Outcome::Busy => Err(SubmitError::Busy),
        Outcome::KeyReused => Err(SubmitError::KeyReused),
        Outcome::TooMany(after) => Err(SubmitError::TooMany(after)),
    }
}

struct Submission {
    id: CommandId,
    new: New,
    params: String,
    /// For the commands of one user; the same for all of a batch.
    limit: Option<Limit>,
    now: Timestamp,
}

/// Only [`Submitted::New`] leaves something in the database.
enum Outcome {
    Submitted(Submitted),
    UnknownVehicle,
    Busy,
    KeyReused,
    /// The next one is accepted after this time.
    TooMany(Duration),
}

/// VIN and connector of a vehicle, by its id.
type Vehicles = HashMap<String, (String, String)>;

impl Write for Submission {
    type Output = Outcome;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Outcome>, Error> {
        let vehicles = vehicles(writes, on).await?;
        let mut known = Vec::with_capacity(writes.len());
        for submission in writes {
            known.push(match &submission.new.key {
                Some(key) => key.take(on, &submission.id.to_string(), submission.now).await?,
                None => Known::New,
            });
        }
        let possible = |(submission, known): &(&Self, &Known)| {
            **known == Known::New && vehicles.contains_key(&submission.new.vehicle_id.to_string())
        };
        let possible: Vec<&Self> =
            writes.iter().zip(&known).filter(possible).map(|(submission, _)| submission).collect();
        let limited = limited(&possible, on).await?;
        let within = |submission: &&Self| !limited.contains_key(&submission.id);
        let inserted = insert(possible.into_iter().filter(within), on).await?;
        let mut outcomes = Vec::with_capacity(writes.len());
        for (submission, known) in writes.iter().zip(known) {
            outcomes.push(match (known, vehicles.get(&submission.new.vehicle_id.to_string())) {
                (Known::Other, _) => Outcome::KeyReused,
                (Known::Before(id), _) => before(&id, on).await?,
                (Known::New, Some(vehicle)) if inserted.contains(&submission.id.to_string()) => {
                    Outcome::Submitted(Submitted::New(Box::new(submission.open(vehicle))))
                }
                (Known::New, vehicle) => {
                    // A refused request uses up neither its key nor its user's limit.
                    if let Some(key) = &submission.new.key {
                        key.give_back(on).await?;
                    }
                    match (vehicle, limited.get(&submission.id)) {
                        (None, _) => Outcome::UnknownVehicle,
                        (Some(_), Some(after)) => Outcome::TooMany(*after),
                        (Some(_), None) => {
                            if let Some(limit) = submission.limit {
                                limit.give_back(on, &submission.counter()).await?;
                            }
                            Outcome::Busy
                        }
                    }
                }
            });
        }
        Ok(outcomes)
    }
}

async fn vehicles(writes: &[Submission], on: &mut AnyConnection) -> Result<Vehicles, Error> {
    let ids: HashSet<_> = writes.iter().map(|submission| submission.new.vehicle_id.to_string()).collect();
    let sql = format!("SELECT id, vin, connector FROM vehicles WHERE id IN {}", rows(1, &vec![""; ids.len()]));
    let mut select = sqlx::query(sqlx::AssertSqlSafe(sql));
    for id in ids {
        select = select.bind(id);
    }
    let rows = select.fetch_all(&mut *on).await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, (row.try_get("vin")?, row.try_get("connector")?)))).collect()
}

/// Counts commands against the limits of their users. Returns those that exceed a limit, with the time to wait.
async fn limited(submissions: &[&Submission], on: &mut AnyConnection) -> Result<HashMap<CommandId, Duration>, Error> {
    let Some((limit, now)) = submissions.last().and_then(|last| Some((last.limit?, last.now))) else {
        return Ok(HashMap::new());
    };
    let counters: Vec<_> = submissions.iter().map(|submission| submission.counter()).collect();
    let taken = limit.take_each(on, &counters, now).await?;
    let beyond = submissions.iter().zip(taken).filter_map(|(submission, taken)| match taken {
        Taken::Yes => None,
        Taken::NotFor(after) => Some((submission.id, after)),
    });
    Ok(beyond.collect())
}

/// Inserts commands. Returns the ids of the inserted ones: the only possible conflict is the partial index over unsafe commands.
async fn insert(
    submissions: impl Iterator<Item = &Submission>,
    on: &mut AnyConnection,
) -> Result<HashSet<String>, Error> {
    let submissions: Vec<_> = submissions.collect();
    if submissions.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = format!(
        "INSERT INTO commands (id, user_id, vehicle_id, name, params, ecu, effect, state, ended, timeout_seconds,
             submitted_at, accept_by, run_by, recorded, lease_until, fence)
         VALUES {} ON CONFLICT DO NOTHING RETURNING id",
        rows(submissions.len(), &[""; 16])
    );
    let mut insert = sqlx::query(sqlx::AssertSqlSafe(sql));
    for submission in submissions {
        let Submission { id, new, params, now, .. } = submission;
        insert = insert
            .bind(id.to_string())
            .bind(new.user_id.to_string())
            .bind(new.vehicle_id.to_string())
            .bind(new.request.name)
            .bind(params.as_str())
            .bind(new.request.ecu.as_str())
            .bind(new.request.effect.as_str())
            .bind(new.request.effect.at_submission().as_str())
            .bind(0_i64)
            .bind(i64::from(new.timeout_seconds))
            .bind(micros(*now))
            .bind(micros(submission.accept_by()))
            .bind(micros(submission.run_by()))
            .bind(0_i64)
            .bind(micros(*now + LEASE))
            .bind(FIRST_FENCE);
    }
    insert.fetch_all(&mut *on).await?.iter().map(|row| row.try_get("id")).collect()
}

/// The command that was submitted under the same key. If that submission was refused in the same batch, there is none, and both
/// are performed again one after the other.
async fn before(id: &str, on: &mut AnyConnection) -> Result<Outcome, Error> {
    let sql = format!("SELECT {COLUMNS} FROM commands c WHERE c.id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(&mut *on).await?;
    Ok(Outcome::Submitted(Submitted::Before(Box::new(command(&row)?))))
}

impl Submission {
    /// The key under which the commands of its user are counted.
    fn counter(&self) -> String {
        format!("commands {}", self.new.user_id)
    }

    fn accept_by(&self) -> Timestamp {
        self.run_by().min(self.now + ACCEPT)
    }

    fn run_by(&self) -> Timestamp {
        self.now + Duration::from_secs(self.new.timeout_seconds.into())
    }

    /// The command as it has just been stored.
    fn open(&self, (vin, connector): &(String, String)) -> Open {
        let Self { id, new, params, now, .. } = self;
        Open {
            command: Command {
                id: *id,
                user_id: new.user_id,
                vehicle_id: new.vehicle_id,
                name: new.request.name.to_owned(),
                params: params.clone(),
                effect: new.request.effect,
                state: new.request.effect.at_submission(),
                timeout_seconds: new.timeout_seconds,
                submitted_at: *now,
                completed_at: None,
                error: None,
            },
            vin: vin.clone(),
            connector: connector.clone(),
            accept_by: self.accept_by(),
            run_by: self.run_by(),
            instance_id: None,
            reached: None,
            fence: FIRST_FENCE,
        }
    }
}
