//! Converts commands to UDS requests, and answers to JSON.

use serde_json::{Map, Value, json};
use turnpike_event::Json;

use crate::{
    trouble,
    uds::{self, nrc_name},
    vehicle::{ECUS, code_of},
};

/// The sub-function of RoutineControl that only reads results.
const RESULTS: u8 = 0x03;

/// A valid command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) ecu: u8,
    /// The UDS request.
    pub(crate) request: Vec<u8>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ReadDtc,
    ClearDtc,
    ReadData,
    Routine,
    Reset,
}

impl Command {
    /// After a failure it is not known whether the command changed something. Reading the results of a routine changes nothing.
    pub(crate) fn is_unsafe(&self) -> bool {
        match self.kind {
            Kind::Routine => self.request[1] != RESULTS,
            Kind::Reset => true,
            Kind::ReadDtc | Kind::ClearDtc | Kind::ReadData => false,
        }
    }
}

impl Kind {
    /// A restart cannot be stopped.
    pub(crate) fn can_be_cancelled(self) -> bool {
        self != Self::Reset
    }
}

/// Parses a command; an error says what is wrong.
pub(crate) fn parse(name: &str, params: &str) -> Result<Command, String> {
    let params: Map<String, Value> = match params {
        "" => Map::new(),
        text => serde_json::from_str(text).map_err(|_| "the parameters are not a JSON object".to_owned())?,
    };
    let text = |field: &str| params.get(field).and_then(Value::as_str);
    let hex = |field: &str, digits: usize| {
        text(field)
            .and_then(|text| text.strip_prefix("0x"))
            .filter(|hex| hex.len() == digits && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u16::from_str_radix(hex, 16).ok())
            .ok_or_else(|| format!("{field} must be 0x and {digits} hexadecimal digits"))
    };
    let ecu = hex("ecuAddress", 2)? as u8;
    if !ECUS.iter().any(|(address, _)| *address == ecu) {
        let known: Vec<_> = ECUS.iter().map(|(address, name)| format!("0x{address:02x} {name}")).collect();
        return Err(format!("there is no control unit at 0x{ecu:02x}: this vehicle has {}", known.join(", ")));
    }
    let (kind, request) = match name {
        "ReadDTC" => (Kind::ReadDtc, vec![uds::READ_DTC, 0x02, 0xff]),
        "ClearDTC" => {
            let number = match text("dtcCode") {
                None => 0xff_ffff,
                Some(code) => trouble::number(code).ok_or("dtcCode must look like P0420")?,
            };
            let [_, a, b, c] = number.to_be_bytes();
            (Kind::ClearDtc, vec![uds::CLEAR, a, b, c])
        }
        "ReadDataByID" => {
            let [a, b] = hex("dataId", 4)?.to_be_bytes();
            (Kind::ReadData, vec![uds::READ_DATA, a, b])
        }
        "RoutineControl" => {
            let action = match text("action") {
                Some("start") => 0x01,
                Some("stop") => 0x02,
                Some("results") => RESULTS,
                _ => return Err("action must be start, stop or results".to_owned()),
            };
            let [a, b] = hex("routineId", 4)?.to_be_bytes();
            (Kind::Routine, vec![uds::ROUTINE, action, a, b])
        }
        "ECUReset" => {
            let kind = match text("resetType") {
                None | Some("hard") => 0x01,
                Some("keyOffOn") => 0x02,
                Some("soft") => 0x03,
                Some(_) => return Err("resetType must be hard, keyOffOn or soft".to_owned()),
            };
            (Kind::Reset, vec![uds::RESET, kind])
        }
        _ => return Err(format!("this connector has no command {}", name.chars().take(64).collect::<String>())),
    };
    Ok(Command { ecu, request, kind })
}

/// A parsed message of a control unit.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    /// A part of the answer.
    Piece(Json),
    /// Response pending (0x78).
    Pending,
    /// A negative response.
    Negative { message: String },
    /// Not an answer to this request.
    Malformed,
}

/// Parses a message.
pub(crate) fn read(command: &Command, message: &[u8]) -> Meaning {
    let service = command.request[0];
    match message {
        [uds::NEGATIVE, of, uds::nrc::PENDING] if *of == service => Meaning::Pending,
        [uds::NEGATIVE, of, code] if *of == service => Meaning::Negative {
            message: format!("The control unit refused service 0x{service:02X} with 0x{code:02X} {}", nrc_name(*code)),
        },
        [first, rest @ ..] if *first == service + uds::POSITIVE => match object(command, rest) {
            Some(Value::Object(object)) => Meaning::Piece(Json::object(&object)),
            _ => Meaning::Malformed,
        },
        _ => Meaning::Malformed,
    }
}

/// The JSON of a positive answer, without its first byte.
fn object(command: &Command, rest: &[u8]) -> Option<Value> {
    let ecu = format!("0x{:02x}", command.ecu);
    Some(match (command.kind, rest) {
        (Kind::ReadDtc, [0x02, _, a, b, c, status]) => {
            let (dtc, known) = code_of([*a, *b, *c]);
            let bit = |mask: u8| status & mask != 0;
            json!({
                "ecuAddress": ecu,
                "code": known.map_or(dtc.as_str(), |code| code.name),
                "dtc": dtc,
                "description": known.map_or("Unknown trouble code", |code| code.meaning),
                "severity": known.map_or(4, |code| code.severity),
                "status": format!("0x{status:02X}"),
                "testFailed": bit(trouble::status::FAILED),
                "pending": bit(trouble::status::PENDING),
                "confirmed": bit(trouble::status::CONFIRMED),
            })
        }
        (Kind::ReadDtc, [0x01, _, _, high, low]) => {
            json!({ "status": "complete", "totalDtcs": u16::from_be_bytes([*high, *low]) })
        }
        (Kind::ClearDtc, []) => {
            json!({ "status": "complete", "ecuAddress": ecu, "cleared": cleared(&command.request) })
        }
        (Kind::ReadData, [a, b, data @ ..]) if command.request[1..] == [*a, *b] && !data.is_empty() => {
            let id = u16::from_be_bytes([*a, *b]);
            let (name, value, unit) = datum(id, data)?;
            let raw: String = data.iter().map(|byte| format!("{byte:02X}")).collect();
            json!({ "status": "complete", "ecuAddress": ecu, "dataId": format!("0x{id:04X}"), "name": name,
                "value": value, "unit": unit, "raw": raw })
        }
        (Kind::Routine, [action, a, b, data @ ..]) if command.request[1..] == [*action, *a, *b] => {
            let routine = format!("0x{:04X}", u16::from_be_bytes([*a, *b]));
            match data {
                [0x01, percent] => json!({ "status": "running", "routineId": routine, "progress": percent }),
                [0x00, percent, high, low] => json!({ "status": "complete", "routineId": routine, "progress": percent,
                    "result": "passed", "isolationResistanceKiloohm": u16::from_be_bytes([*high, *low]) }),
                [] => json!({ "status": "complete", "routineId": routine, "result": "stopped" }),
                _ => return None,
            }
        }
        (Kind::Reset, [kind]) if command.request[1] == *kind => {
            json!({ "status": "complete", "ecuAddress": ecu, "resetType": (["hard", "keyOffOn", "soft"]).get(usize::from(*kind) - 1) })
        }
        _ => return None,
    })
}

fn cleared(request: &[u8]) -> Value {
    match request {
        [_, 0xff, 0xff, 0xff] => "all".into(),
        [_, a, b, c] => code_of([*a, *b, *c]).1.map_or(Value::Null, |code| code.name.into()),
        _ => Value::Null,
    }
}

/// Name, value and unit of a data identifier; `None` if the number of bytes is wrong.
fn datum(id: u16, data: &[u8]) -> Option<(&'static str, Value, Option<&'static str>)> {
    let text = || String::from_utf8(data.to_vec()).ok().map(Value::from);
    Some(match (id, data) {
        (0xf190, _) => ("VIN", text()?, None),
        (0xf187, _) => ("Spare part number", text()?, None),
        (0xf18c, _) => ("Serial number", text()?, None),
        (0xf191, _) => ("Hardware number", text()?, None),
        (0xf195, _) => ("Software version", text()?, None),
        (0xf40c | 0x010c, [high, low]) => {
            ("Engine speed", (f64::from(u16::from_be_bytes([*high, *low])) / 4.0).into(), Some("1/min"))
        }
        (0xf40d | 0x010d, [speed]) => ("Vehicle speed", (*speed).into(), Some("km/h")),
        (0xf405 | 0x0105, [coolant]) => ("Coolant temperature", (i16::from(*coolant) - 40).into(), Some("°C")),
        (0xf45b, [charge]) => {
            ("State of charge", ((f64::from(*charge) * 1000.0 / 255.0).round() / 10.0).into(), Some("%"))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vehicle::Vehicle;

    fn ask(name: &str, params: &str) -> Vec<String> {
        let command = parse(name, params).expect("a good command");
        let answer = Vehicle::new(1, 0).answer(command.ecu, &command.request);
        let read = |message: &Vec<u8>| match read(&command, message) {
            Meaning::Piece(json) => json.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        answer.messages.iter().map(read).collect()
    }

    #[test]
    fn every_command_is_answered_in_its_shape() {
        let dtcs = ask("ReadDTC", r#"{"ecuAddress":"0x10"}"#);
        assert!(dtcs[0].contains(r#""code":"P0420""#) && dtcs[0].contains(r#""dtc":"042000""#), "{dtcs:?}");
        let total = format!(r#"{{"status":"complete","totalDtcs":{}}}"#, dtcs.len() - 1);
        assert_eq!(dtcs.last(), Some(&total));
        let vin = Vehicle::new(1, 0).vin;
        assert!(ask("ReadDataByID", r#"{"ecuAddress":"0x10","dataId":"0xF190"}"#)[0].contains(&vin));
        assert!(ask("ReadDataByID", r#"{"ecuAddress":"0x10","dataId":"0xF40C"}"#)[0].contains("Engine speed"));
        assert!(
            ask("ReadDataByID", r#"{"ecuAddress":"0x10","dataId":"0x1234"}"#)[0].contains("0x31 requestOutOfRange")
        );
        assert!(ask("ClearDTC", r#"{"ecuAddress":"0x10"}"#)[0].contains(r#""cleared":"all""#));
        assert!(ask("ECUReset", r#"{"ecuAddress":"0x10"}"#)[0].contains(r#""resetType":"hard""#));
        let routine = ask("RoutineControl", r#"{"ecuAddress":"0x11","routineId":"0x0203","action":"start"}"#);
        assert_eq!(routine.len(), 5);
        assert!(routine[4].contains(r#""result":"passed""#));
        let locked = ask("RoutineControl", r#"{"ecuAddress":"0x11","routineId":"0x0F01","action":"start"}"#);
        assert!(locked[0].contains("0x33 securityAccessDenied"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        assert!(parse("ReadDTC", r#"{"ecuAddress":"0x77"}"#).expect_err("no such unit").contains("0x10 motor"));
        assert!(parse("ReadDTC", "[]").is_err());
        assert!(parse("Fly", r#"{"ecuAddress":"0x10"}"#).is_err());
        assert!(parse("ReadDataByID", r#"{"ecuAddress":"0x10","dataId":"F190"}"#).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_message_is_read_without_panic(message: Vec<u8>) {
            for (name, params) in [
                ("ReadDTC", r#"{"ecuAddress":"0x10"}"#),
                ("ReadDataByID", r#"{"ecuAddress":"0x10","dataId":"0xF190"}"#),
                ("ECUReset", r#"{"ecuAddress":"0x10"}"#),
            ] {
                let _ = read(&parse(name, params).expect("good"), &message);
            }
        }
    }
}
