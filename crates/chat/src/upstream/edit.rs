//! Edits of a JSON object in place: bytes that are not edited stay as they are, unknown members and the order included.

use std::{borrow::Cow, fmt, ops::Range};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A replacement of a part of a text.
pub type Edit = (Range<usize>, String);

/// The members of a JSON object, and where they stand.
pub struct Object<'a> {
    text: &'a [u8],
    members: Vec<Member<'a>>,
}

/// A member of an object.
struct Member<'a> {
    name: Cow<'a, str>,
    value: &'a RawValue,
    /// Where the value stands in the text.
    at: Range<usize>,
}

/// Where the value of a member stands, or where a new member can stand.
#[derive(Clone, Debug)]
pub struct Slot {
    /// More than one if the name stands twice.
    values: Vec<Range<usize>>,
    /// What stands before and after the value of a new member.
    around: [String; 2],
}

impl<'a> Object<'a> {
    /// Finds the members of an object. The error says where the text is no JSON.
    pub fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let Members(found) = serde_json::from_slice(text)?;
        let start = text.as_ptr().addr();
        let member = |(name, value): (Cow<'a, str>, &'a RawValue)| {
            let at = value.get().as_ptr().addr() - start;
            Member { name, value, at: at..at + value.get().len() }
        };
        Ok(Self { text, members: found.into_iter().map(member).collect() })
    }

    /// The value of a member, as JSON. If the name stands twice, it is the last one's, as with most parsers.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|member| member.name == name).map(|member| member.value.get())
    }

    /// Names and values, as JSON, in their order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|member| (&*member.name, member.value.get()))
    }

    /// Where the value of a member stands.
    pub fn slot(&self, name: &str) -> Slot {
        let named = self.members.iter().filter(|member| member.name == name);
        let mut values: Vec<_> = named.map(|member| member.at.clone()).collect();
        if !values.is_empty() {
            return Slot { values, around: Default::default() };
        }
        let start = self.after_brace();
        values.push(start..start);
        let comma = if self.members.is_empty() { "" } else { "," };
        Slot { values, around: [format!("{}:", serde_json::Value::from(name)), comma.to_owned()] }
    }

    /// Removes a member; `None` if there is none, or if its name stands twice.
    pub fn remove(&self, name: &str) -> Option<Edit> {
        let mut found = (0..self.members.len()).filter(|n| self.members[*n].name == name);
        let (Some(n), None) = (found.next(), found.next()) else { return None };
        // With the comma before it; the first one with the comma after it.
        let end = self.members[n].at.end;
        let range = match n.checked_sub(1) {
            Some(before) => self.members[before].at.end..end,
            None => {
                let next = self.text[end..].iter().position(|byte| !byte.is_ascii_whitespace());
                let comma = next.map(|skip| end + skip).filter(|at| self.text[*at] == b',');
                self.after_brace()..comma.map_or(end, |comma| comma + 1)
            }
        };
        Some((range, String::new()))
    }

    fn after_brace(&self) -> usize {
        self.text.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1)
    }
}

impl Slot {
    /// Sets the value to this JSON.
    pub fn set(&self, json: &str) -> impl Iterator<Item = Edit> {
        let [before, after] = &self.around;
        let text = format!("{before}{json}{after}");
        self.values.iter().map(move |range| (range.clone(), text.clone()))
    }
}

/// The text with all edits, which must not overlap.
pub fn apply(text: &[u8], mut edits: Vec<Edit>) -> Bytes {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let added: usize = edits.iter().map(|(_, json)| json.len()).sum();
    let mut edited = Vec::with_capacity(text.len() + added);
    let mut done = 0;
    for (range, json) in &edits {
        edited.extend_from_slice(&text[done..range.start]);
        edited.extend_from_slice(json.as_bytes());
        done = range.end;
    }
    edited.extend_from_slice(&text[done..]);
    edited.into()
}

/// The members of an object in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reading)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn edited(text: &str, edits: impl IntoIterator<Item = Edit>) -> String {
        let bytes = apply(text.as_bytes(), edits.into_iter().collect());
        String::from_utf8(bytes.to_vec()).expect("UTF-8")
    }

    fn set(text: &str, name: &str, json: &str) -> String {
        let object = Object::parse(text.as_bytes()).expect("an object");
        edited(text, object.slot(name).set(json))
    }

    fn removed(text: &str, name: &str) -> String {
        edited(text, Object::parse(text.as_bytes()).expect("an object").remove(name))
    }

    #[test]
    fn only_the_edited_bytes_change() {
        let text = "{ \"a\" : 1e400,\n\t\"model\" : \"x\" , \"b\":[ ] , \"\\u006dodel\":null }";
        assert_eq!(
            set(text, "model", "\"y\""),
            "{ \"a\" : 1e400,\n\t\"model\" : \"y\" , \"b\":[ ] , \"\\u006dodel\":\"y\" }"
        );
        assert_eq!(set("{}", "a\"", "1"), r#"{"a\"":1}"#);
        assert_eq!(set(r#" {"b":2}"#, "a", "1"), r#" {"a":1,"b":2}"#);
        assert_eq!(removed(r#"{"a":1 , "b":2}"#, "a"), r#"{ "b":2}"#);
        assert_eq!(removed(r#"{"a":1 , "b":2}"#, "b"), r#"{"a":1}"#);
        assert_eq!(removed(r#"{ "a":1 }"#, "a"), "{ }");
        assert_eq!(removed(r#"{"a":1,"b":2,"c":3}"#, "b"), r#"{"a":1,"c":3}"#);
        assert_eq!(removed(r#"{"a":1,"a":2}"#, "a"), r#"{"a":1,"a":2}"#);
    }

    #[test]
    fn other_values_are_no_objects() {
        for text in ["", "[]", "1", "null", "{", "{\"a\":}", "{\"a\":1}x", "{\"a\":\"\u{1}\"}"] {
            assert!(Object::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err(), "no UTF-8");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(Value::from_iter),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Vec<(String, Value)>> {
        let name = prop_oneof![Just("model".to_owned()), Just("usage".to_owned()), ".{0,6}"];
        prop::collection::vec((name, json()), 0..8)
    }

    /// As text, with some white space around each part.
    fn text(members: &[(String, Value)], spaces: &[&str]) -> String {
        let mut spaces = spaces.iter().cycle();
        let mut space = || *spaces.next().unwrap_or(&"");
        let member = |(name, value): &(String, Value)| {
            format!("{}{}{}:{}{value}{}", space(), Value::from(name.as_str()), space(), space(), space())
        };
        let members = members.iter().map(member).collect::<Vec<_>>().join(",");
        format!("{{{members}{}}}", if members.is_empty() { " " } else { "" })
    }

    proptest! {
        #[test]
        fn an_edit_changes_nothing_else(
            members in object(),
            spaces in prop::collection::vec(prop::sample::select(vec!["", " ", "\n", "\t "]), 1..7),
            value in json(),
        ) {
            let before = text(&members, &spaces);
            let parse = |text: &str| {
                let object = Object::parse(text.as_bytes()).expect("an object");
                let member = |member: &Member<'_>| (member.name.clone().into_owned(), member.value.get().to_owned());
                object.members.iter().map(member).collect::<Vec<_>>()
            };
            let others = |all: Vec<(String, String)>| all.into_iter().filter(|(name, _)| name != "model").collect::<Vec<_>>();
            let set = set(&before, "model", &value.to_string());
            let json = value.to_string();
            prop_assert_eq!(Object::parse(set.as_bytes()).expect("an object").get("model"), Some(json.as_str()));
            prop_assert_eq!(others(parse(&set)), others(parse(&before)));
        }
    }

    proptest! {
        #[test]
        fn a_removal_removes_nothing_else(members in object(), n in any::<prop::sample::Index>()) {
            let mut members = members;
            let mut names = std::collections::BTreeSet::new();
            members.retain(|(name, _)| names.insert(name.clone()));
            let before = text(&members, &["", " "]);
            let name = if members.is_empty() { "x".to_owned() } else { members[n.index(members.len())].0.clone() };
            let after = removed(&before, &name);
            let left: Value = serde_json::from_str(&after).expect("JSON");
            members.retain(|(other, _)| *other != name);
            prop_assert_eq!(left, Value::from_iter(members));
        }
    }
}
