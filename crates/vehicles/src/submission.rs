//! Validation of a submission: its fields, and the role that an unsafe command needs.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use turnpike_fault::{Fault, Kind};
use turnpike_store::idempotency::Key;
use turnpike_token::Role;
use turnpike_topic::{UserId, VehicleId};

use crate::catalogue::{self, Request};

/// Seconds.
const DEFAULT_TIMEOUT: u32 = 30;
const MAX_TIMEOUT: u32 = 3600;
const MAX_PARAMS_BYTES: usize = 16 << 10;

/// A submission as the caller sent it.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub vehicle_id: String,
    pub name: String,
    /// A JSON object; empty: `{}`.
    pub params_json: String,
    /// 0: the default.
    pub timeout_seconds: u32,
    /// Empty: none.
    pub idempotency_key: String,
}

/// A valid submission.
#[derive(Clone, Debug)]
pub struct New {
    pub user_id: UserId,
    pub vehicle_id: VehicleId,
    pub request: Request,
    /// 1–3600.
    pub timeout_seconds: u32,
    /// The caller's idempotency key, with a hash of the request.
    pub key: Option<Key>,
}

impl New {
    /// Validates a submission of a user with this role. A refusal names the invalid fields.
    pub fn validate(user_id: UserId, role: Role, draft: &Draft) -> Result<Self, Fault> {
        let timeout_seconds = match draft.timeout_seconds {
            0 => DEFAULT_TIMEOUT,
            seconds @ 1..=MAX_TIMEOUT => seconds,
            _ => return Err(invalid("timeout_seconds", format!("must be from 1 to {MAX_TIMEOUT}"))),
        };
        if draft.params_json.len() > MAX_PARAMS_BYTES {
            return Err(invalid("command_params", format!("must be at most {MAX_PARAMS_BYTES} bytes")));
        }
        let params: Map<String, Value> = match draft.params_json.as_str() {
            "" => Map::new(),
            text => serde_json::from_str(text).map_err(|_| invalid("command_params", "must be a JSON object"))?,
        };
        let vehicle_id = draft.vehicle_id.parse().map_err(|_| unknown_vehicle())?;
        let request = catalogue::validate(&draft.name, params)?;
        if role < request.effect.role() {
            return Err(Fault::new(Kind::Forbidden, format!("This command needs the role {}", request.effect.role())));
        }
        let hash = hash(vehicle_id, &request, timeout_seconds);
        let key = Key::new(user_id, &draft.idempotency_key, hash)?;
        Ok(Self { user_id, vehicle_id, request, timeout_seconds, key })
    }
}

/// Equal requests have equal hashes: the parameters are a sorted map.
fn hash(vehicle_id: VehicleId, request: &Request, timeout_seconds: u32) -> String {
    let params = Value::Object(request.params.clone());
    let hash = Sha256::digest(format!("{vehicle_id}\n{}\n{params}\n{timeout_seconds}", request.name));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unknown_vehicle() -> Fault {
    Fault::new(Kind::Invalid, "There is no such vehicle")
        .code_is("UNKNOWN_VEHICLE")
        .field("vehicle_id", "names no vehicle")
}

fn invalid(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}
