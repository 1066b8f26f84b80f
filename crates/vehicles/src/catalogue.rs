//! The catalogue of commands, and the form of their parameters.

use serde_json::{Map, Value, json};
use turnpike_fault::{Fault, Kind};

use crate::lifecycle::Effect;

/// A valid command.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub name: &'static str,
    pub params: Map<String, Value>,
    pub effect: Effect,
    /// Address of the control unit.
    pub ecu: String,
}

/// A command of the catalogue, as clients see it.
pub struct Entry {
    pub name: &'static str,
    pub description: &'static str,
    /// The strongest effect that the command has with any parameters.
    pub effect: Effect,
    /// JSON Schema.
    pub params_schema: Value,
}

/// Every command that can be sent.
pub fn entries() -> impl Iterator<Item = Entry> {
    CATALOGUE.iter().map(|spec| Entry {
        name: spec.name,
        description: spec.description,
        // Only parameters can weaken the effect.
        effect: (spec.effect)(&Map::new()),
        params_schema: json!({
            "type": "object",
            "properties": spec.params.iter().map(|param| (param.name.to_owned(), param.schema())).collect::<Map<_, _>>(),
            "required": spec.params.iter().filter(|param| param.required).map(|param| param.name).collect::<Vec<_>>(),
            "additionalProperties": false,
        }),
    })
}

struct Spec {
    name: &'static str,
    description: &'static str,
    params: &'static [Param],
    effect: fn(&Map<String, Value>) -> Effect,
}

struct Param {
    name: &'static str,
    description: &'static str,
    example: &'static str,
    required: bool,
    form: Form,
}

enum Form {
    /// `0x` and this number of hexadecimal digits.
    Hex(usize),
    /// A diagnostic trouble code (SAE J2012).
    TroubleCode,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

const ECU: Param = Param {
    name: "ecuAddress",
    description: "Address of the control unit",
    example: "0x10",
    required: true,
    form: Form::Hex(2),
};

const CATALOGUE: [Spec; 5] = [
    Spec {
        name: "ReadDTC",
        description: "Read the stored diagnostic trouble codes",
        params: &[ECU],
        effect: |_| Effect::Read,
    },
    Spec {
        name: "ClearDTC",
        description: "Clear one trouble code, or all of them",
        params: &[
            ECU,
            Param {
                name: "dtcCode",
                description: "Only this trouble code; all if absent",
                example: "P0420",
                required: false,
                form: Form::TroubleCode,
            },
        ],
        effect: |_| Effect::Idempotent,
    },
    Spec {
        name: "ReadDataByID",
        description: "Read one value of a control unit",
        params: &[
            ECU,
            Param {
                name: "dataId",
                description: "Identifier of the value",
                example: "0xF190",
                required: true,
                form: Form::Hex(4),
            },
        ],
        effect: |_| Effect::Read,
    },
    Spec {
        name: "RoutineControl",
        description: "Start or stop a routine of a control unit, or read its results",
        params: &[
            ECU,
            Param {
                name: "routineId",
                description: "Identifier of the routine",
                example: "0x0203",
                required: true,
                form: Form::Hex(4),
            },
            Param {
                name: "action",
                description: "What to do with the routine",
                example: "results",
                required: true,
                form: Form::OneOf(&["start", "stop", "results"]),
            },
        ],
        // asking for results starts nothing
        effect: |params| match params.get("action").and_then(Value::as_str) {
            Some("results") => Effect::Read,
            _ => Effect::Unsafe,
        },
    },
    Spec {
        name: "ECUReset",
        description: "Restart a control unit",
        params: &[
            ECU,
            Param {
                name: "resetType",
                description: "Kind of the restart; hard if absent",
                example: "hard",
                required: false,
                form: Form::OneOf(&["hard", "keyOffOn", "soft"]),
            },
        ],
        effect: |_| Effect::Unsafe,
    },
];

/// Validates a command; a refusal names each invalid field.
pub fn validate(name: &str, params: Map<String, Value>) -> Result<Request, Fault> {
    let Some(spec) = CATALOGUE.iter().find(|spec| spec.name == name) else {
        let names: Vec<_> = CATALOGUE.iter().map(|spec| spec.name).collect();
        return Err(Fault::new(Kind::Invalid, "There is no such command")
            .code_is("UNKNOWN_COMMAND")
            .field("command_name", format!("must be one of {}", names.join(", "))));
    };
    let mut wrong = Vec::new();
    for param in spec.params {
        match params.get(param.name) {
            None if param.required => wrong.push((param.name, "is required".to_owned())),
            None => {}
            Some(Value::String(text)) if param.form.fits(text) => {}
            Some(_) => wrong.push((param.name, param.form.expected())),
        }
    }
    for name in params.keys().filter(|name| !spec.params.iter().any(|param| param.name == **name)) {
        wrong.push((name, format!("is not a parameter of {}", spec.name)));
    }
    if !wrong.is_empty() {
        let fault = Fault::new(Kind::Invalid, "The command's parameters are not valid").code_is("INVALID_PARAMETERS");
        return Err(wrong
            .into_iter()
            .take(16)
            .fold(fault, |fault, (name, message)| fault.field(format!("command_params.{}", shown(name)), message)));
    }
    let ecu = params.get(ECU.name).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    Ok(Request { name: spec.name, effect: (spec.effect)(&params), ecu, params })
}

/// A field's name is text of the caller: only its beginning is repeated in an error.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

impl Param {
    fn schema(&self) -> Value {
        let mut schema = json!({ "type": "string", "description": self.description, "examples": [self.example] });
        match &self.form {
            Form::OneOf(words) => schema["enum"] = json!(words),
            Form::Hex(_) | Form::TroubleCode => schema["pattern"] = self.form.pattern().into(),
        }
        schema
    }
}

impl Form {
    fn pattern(&self) -> String {
        match self {
            Self::Hex(digits) => format!("^0x[0-9A-Fa-f]{{{digits}}}$"),
            Self::TroubleCode => "^[PCBU][0-9A-F]{4}$".to_owned(),
            Self::OneOf(words) => format!("^({})$", words.join("|")),
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Hex(digits) => text
                .strip_prefix("0x")
                .is_some_and(|hex| hex.len() == *digits && hex.bytes().all(|b| b.is_ascii_hexdigit())),
            Self::TroubleCode => {
                let upper_hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
                matches!(text.as_bytes(), [b'P' | b'C' | b'B' | b'U', rest @ ..]
                    if rest.len() == 4 && rest.iter().all(|b| upper_hex(*b)))
            }
            Self::OneOf(words) => words.contains(&text),
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::Hex(_) | Self::TroubleCode => format!("must match {}", self.pattern()),
            Self::OneOf(words) => format!("must be one of {}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn try_it(name: &str, params: Value) -> Result<Request, Fault> {
        let Value::Object(params) = params else { panic!("an object") };
        validate(name, params)
    }

    #[test]
    fn the_examples_of_the_catalogue_are_valid() {
        for entry in entries() {
            let properties = entry.params_schema["properties"].as_object().expect("an object");
            let params =
                properties.iter().map(|(name, schema)| (name.clone(), schema["examples"][0].clone())).collect();
            let request = validate(entry.name, params).expect(entry.name);
            assert!(request.effect == entry.effect || entry.effect == Effect::Unsafe, "{}", entry.name);
        }
    }

    #[test]
    fn good_commands_pass() {
        let effects = [
            ("ReadDTC", json!({"ecuAddress": "0x10"}), Effect::Read),
            ("ClearDTC", json!({"ecuAddress": "0xfF", "dtcCode": "P0420"}), Effect::Idempotent),
            ("ReadDataByID", json!({"ecuAddress": "0x10", "dataId": "0xF190"}), Effect::Read),
            ("RoutineControl", json!({"ecuAddress": "0x10", "routineId": "0x0203", "action": "start"}), Effect::Unsafe),
            ("RoutineControl", json!({"ecuAddress": "0x10", "routineId": "0x0203", "action": "results"}), Effect::Read),
            ("ECUReset", json!({"ecuAddress": "0x10"}), Effect::Unsafe),
        ];
        for (name, params, effect) in effects {
            assert_eq!(try_it(name, params).map(|request| request.effect), Ok(effect), "{name}");
        }
    }

    #[test]
    fn a_refusal_names_each_field() {
        let fault = try_it("ReadDataByID", json!({"ecuAddress": "10", "extra": 1})).expect_err("three mistakes");
        let fields: Vec<_> = fault.fields().iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["command_params.ecuAddress", "command_params.dataId", "command_params.extra"]);
        assert_eq!(fault.kind(), Kind::Invalid);
    }

    #[test]
    fn near_misses_are_refused() {
        for ecu in ["0x1", "0x100", "0X10", "0xG0", " 0x10", "0x10\n", "", "0x1é"] {
            assert!(try_it("ReadDTC", json!({"ecuAddress": ecu})).is_err(), "{ecu:?}");
        }
        for dtc in ["P042", "P04200", "X0420", "p0420", "P042g", "P042a"] {
            assert!(try_it("ClearDTC", json!({"ecuAddress": "0x10", "dtcCode": dtc})).is_err(), "{dtc:?}");
        }
        assert!(try_it("ReadDTC", json!({"ecuAddress": 16})).is_err());
        assert_eq!(try_it("readdtc", json!({})).expect_err("no such command").fields()[0].field, "command_name");
    }
}
