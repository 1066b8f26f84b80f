//! Events of a vehicle, on the topic `vehicle:{vehicle_id}`.

use serde::ser::SerializeMap;
use turnpike_proto::event::v1::{self as pb, event::Body};
use turnpike_topic::VehicleId;

use crate::named_enum::named_enum;

/// An event of a vehicle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VehicleEvent {
    /// The vehicle was connected, was disconnected or failed.
    Changed {
        /// The vehicle.
        vehicle_id: VehicleId,
        /// The connection status from now on.
        connection_status: ConnectionStatus,
    },
}

named_enum! {
    /// Whether a vehicle can be reached.
    ConnectionStatus {
        /// It answers.
        Connected = "connected",
        /// It is not connected.
        Disconnected = "disconnected",
        /// It is connected and does not work.
        Error = "error",
    }
}

impl VehicleEvent {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "vehicle",
        }
    }

    pub(crate) fn to_pb(self) -> Body {
        match self {
            Self::Changed { vehicle_id, connection_status } => Body::VehicleChanged(pb::VehicleChanged {
                vehicle_id: vehicle_id.to_string(),
                connection_status: connection_status.as_str().to_owned(),
            }),
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        Some(match body {
            Body::VehicleChanged(e) => Self::Changed {
                vehicle_id: e.vehicle_id.parse().ok()?,
                connection_status: ConnectionStatus::from_word(&e.connection_status)?,
            },
            _ => return None,
        })
    }

    pub(crate) fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Changed { vehicle_id, connection_status } => {
                frame.serialize_entry("vehicle_id", vehicle_id)?;
                frame.serialize_entry("connection_status", connection_status.as_str())
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pinned::assert_pinned;

    pub(crate) fn any_event() -> impl Strategy<Value = VehicleEvent> {
        let id = any::<u128>().prop_map(|id| VehicleId::from(uuid::Uuid::from_u128(id)));
        (id, prop::sample::select(ConnectionStatus::ALL))
            .prop_map(|(vehicle_id, connection_status)| VehicleEvent::Changed { vehicle_id, connection_status })
    }

    #[test]
    fn bytes_and_frames_are_pinned() {
        let vehicle_id = VehicleId::from(uuid::Uuid::from_u128(1));
        assert_pinned(
            crate::Body::Vehicle(VehicleEvent::Changed {
                vehicle_id,
                connection_status: ConnectionStatus::Disconnected,
            }),
            concat!(
                "a201340a2430303030303030302d303030302d303030302d303030302d303030303030303030303031120c646973636f6e6e",
                "6563746564",
            ),
            r#""vehicle_id":"00000000-0000-0000-0000-000000000001","connection_status":"disconnected""#,
        );
    }
}
