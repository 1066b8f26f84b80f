//! Data about the user's health, as clients send it: in a frame on the socket of a room, or over HTTP.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use turnpike_proto::{chat::v1 as pb, timestamp};
use turnpike_topic::RoomId;
use utoipa::ToSchema;

use super::invalid::Invalid;

/// The chat service checks it again.
const MAX_POINTS: usize = 10_080;

#[derive(Debug, Deserialize, PartialEq, ToSchema)]
pub(crate) struct HealthData {
    /// What is measured, if a point does not say so itself; `value` if absent or empty.
    #[schema(example = "sleep_efficiency", max_length = 40, pattern = "^[A-Za-z0-9_.-]*$")]
    metric: Option<String>,
    #[schema(min_items = 1, max_items = 10080)]
    data_points: Vec<DataPoint>,
}

#[derive(Debug, Deserialize, PartialEq, ToSchema)]
pub(crate) struct DataPoint {
    /// RFC 3339, or the seconds since 1970.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Time,
    #[schema(minimum = -1e12, maximum = 1e12)]
    value: f64,
    /// At most 16 different ones.
    #[schema(max_length = 40, pattern = "^[A-Za-z0-9_.-]*$")]
    metric: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Time {
    Text(Timestamp),
    Seconds(f64),
}

impl Time {
    /// `None`: no time that there is.
    fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Text(at) => Some(*at),
            Self::Seconds(seconds) => {
                let seconds = jiff::SignedDuration::try_from_secs_f64(*seconds).ok()?;
                Timestamp::from_duration(seconds).ok()
            }
        }
    }
}

impl HealthData {
    /// The field `data` of a frame. The number of points is checked before their form.
    pub(super) fn parse(data: Option<Value>) -> Result<Self, Invalid> {
        let invalid = |detail: String| Invalid { code: "INVALID_HEALTH_DATA", detail, details: None };
        let data = data.ok_or_else(|| invalid("data is missing".to_owned()))?;
        let received = data.get("data_points").and_then(Value::as_array).map(Vec::len);
        match received {
            None => Err(invalid("data has a list data_points, each with timestamp and value".to_owned())),
            Some(received) if received > MAX_POINTS => Err(Invalid {
                code: "TOO_MANY_DATA_POINTS",
                detail: format!("data_points has {received} points; at most {MAX_POINTS} are analysed"),
                details: Some(json!({ "received": received, "max_allowed": MAX_POINTS })),
            }),
            Some(_) => serde_path_to_error::deserialize(data)
                .map_err(|error| invalid(format!("{} is not valid: {}", error.path(), error.inner()))),
        }
    }

    pub(crate) fn request(self, room: RoomId) -> pb::AnalyzeHealthRequest {
        let point = |point: DataPoint| pb::HealthPoint {
            timestamp: point.timestamp.at().map(timestamp::to_protobuf),
            value: point.value,
            metric: point.metric.unwrap_or_default(),
        };
        pb::AnalyzeHealthRequest {
            room_id: room.to_string(),
            data_points: self.data_points.into_iter().map(point).collect(),
            metric: self.metric.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(data: Value) -> Result<pb::AnalyzeHealthRequest, &'static str> {
        HealthData::parse(Some(data)).map(|data| data.request(uuid::Uuid::nil().into())).map_err(|invalid| invalid.code)
    }

    #[test]
    fn points_are_read_and_mistakes_have_their_codes() {
        let points = json!([
            { "timestamp": "2026-01-01T00:00:00Z", "value": 7, "metric": "steps" },
            { "timestamp": 1_767_225_600.5, "value": 7.5, "more": true },
            { "timestamp": 1e300, "value": 1 },
        ]);
        let request = parse(json!({ "data_points": points, "metric": "sleep" })).expect("valid");
        let seconds = request.data_points.iter().map(|point| point.timestamp.map(|at| (at.seconds, at.nanos)));
        let seconds: Vec<_> = seconds.collect();
        assert_eq!(
            seconds,
            [Some((1_767_225_600, 0)), Some((1_767_225_600, 500_000_000)), None],
            "the last is refused later"
        );
        assert_eq!((request.metric.as_str(), request.data_points[0].metric.as_str()), ("sleep", "steps"));
        for data in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "data_points": {} }),
            json!({ "data_points": [7] }),
            json!({ "data_points": [{ "value": 1 }] }),
            json!({ "data_points": [{ "timestamp": "yesterday", "value": 1 }] }),
            json!({ "data_points": [{ "timestamp": 1, "value": "1" }] }),
            json!({ "data_points": [{ "timestamp": 1, "value": 1, "metric": 7 }] }),
        ] {
            assert_eq!(parse(data.clone()), Err("INVALID_HEALTH_DATA"), "{data}");
        }
        assert_eq!(HealthData::parse(None).expect_err("missing").code, "INVALID_HEALTH_DATA");
        let too_many = HealthData::parse(Some(json!({ "data_points": vec![0; 10_081] }))).expect_err("too many");
        assert_eq!(too_many.code, "TOO_MANY_DATA_POINTS");
        assert_eq!(too_many.details, Some(json!({ "received": 10_081, "max_allowed": 10_080 })));
    }
}
