//! The other gateways of the deployment, as far as this one knows them. A plain value.

use std::collections::{BTreeMap, BTreeSet};

use turnpike_topic::GatewayId;

/// Gateways that are remembered. More than this are counted, but have no names.
const MOST: usize = 1024;

#[derive(Default)]
pub(super) struct Roster(BTreeMap<GatewayId, String>);

impl Roster {
    /// A gateway has said that it serves, or has answered.
    pub(super) fn saw(&mut self, id: GatewayId, name: &str) {
        if self.0.len() < MOST || self.0.contains_key(&id) {
            self.0.insert(id, name.to_owned());
        }
    }

    pub(super) fn gone(&mut self, id: GatewayId) {
        self.0.remove(&id);
    }

    /// After a request: the names of the gateways that have received it, or may have, and have not answered. `asked` is the number
    /// of gateways that have received it; `None`: not known, because it could not be sent.
    ///
    /// If as many have answered as have received it, every other gateway has ended without a word, and is forgotten.
    pub(super) fn missing(&mut self, asked: Option<usize>, answered: &BTreeSet<GatewayId>) -> Vec<String> {
        let unanswered = asked.map(|asked| asked.saturating_sub(answered.len()));
        if unanswered == Some(0) {
            self.0.retain(|id, _| answered.contains(id));
            return Vec::new();
        }
        let silent = self.0.iter().filter(|(id, _)| !answered.contains(id));
        let mut names: Vec<String> = silent.map(|(_, name)| name.clone()).collect();
        // Others than those that are known.
        names.extend((names.len()..unanswered.unwrap_or_default()).map(|_| "unknown".to_owned()));
        names
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn gateway(n: u128) -> GatewayId {
        Uuid::from_u128(n).into()
    }

    fn roster() -> Roster {
        let mut roster = Roster::default();
        roster.saw(gateway(1), "one");
        roster.saw(gateway(2), "two");
        roster
    }

    #[test]
    fn a_gateway_that_received_the_request_and_does_not_answer_is_missing() {
        let answered = BTreeSet::from([gateway(1)]);
        assert_eq!(roster().missing(Some(2), &answered), ["two"]);
        assert_eq!(roster().missing(Some(3), &answered), ["two", "unknown"], "one of them has never said its name");
    }

    #[test]
    fn a_gateway_that_no_longer_receives_requests_has_ended() {
        let mut roster = roster();
        assert!(roster.missing(Some(1), &BTreeSet::from([gateway(1)])).is_empty());
        assert_eq!(roster.missing(Some(1), &BTreeSet::new()), ["one"], "the other one is forgotten");
        roster.gone(gateway(1));
        assert!(roster.missing(Some(0), &BTreeSet::new()).is_empty());
    }

    #[test]
    fn all_are_missing_if_the_request_could_not_be_sent() {
        assert_eq!(roster().missing(None, &BTreeSet::new()), ["one", "two"]);
    }
}
