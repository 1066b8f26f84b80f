//! Translations by the language model of the chat service.

use turnpike_event::CaptionsEvent;
use turnpike_fault::Fault;
use turnpike_identity::AccessToken;

use super::{pass::Way, publisher::Publisher, state::Session, store::Line};
use crate::{
    chat::Chat,
    passing::{Item, Queue},
};

/// The longest name of a language, in characters.
const MAX_LANGUAGE: usize = 40;

/// Whether this can be the name of a language or a BCP 47 tag.
pub(crate) fn is_language(name: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || " -()".contains(c);
    (2..=MAX_LANGUAGE).contains(&name.chars().count()) && name.trim() == name && name.chars().all(is_name)
}

/// The way to the language model.
pub(super) struct ToModel(pub(super) Chat);

impl Way for ToModel {
    const FAILED: &'static str = "translation_failed";
    const ATTEMPTS: u32 = 3;

    fn queue<'a>(&self, session: &'a Session) -> Option<&'a Queue> {
        session.translation.as_ref()
    }

    async fn call(&self, token: &AccessToken, session: &Session, item: &Item) -> Result<String, Fault> {
        self.0.translate(token, item.text.clone(), session.opened.translate_to.clone()).await
    }

    async fn keep(&self, publisher: &Publisher, session: &Session, item: &Item, text: String) -> bool {
        if !session.is_current(item.segment, &item.text, item.is_final) {
            return false;
        }
        if item.is_final {
            publisher.append(session, &Line::Translated { segment: item.segment, text: text.clone() }).await;
            session.change_final(item.segment, |kept| kept.translation.clone_from(&text));
        }
        let language = session.opened.translate_to.clone();
        let (session_id, segment) = (session.id(), item.segment);
        let event = CaptionsEvent::Translation { session_id, segment, language, text, partial: !item.is_final };
        publisher.append_while_open(session, event).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_languages() {
        for name in ["de", "German", "pt-BR", "Português (Brasil)", "日本語", "zh-Hant-TW"] {
            assert!(is_language(name), "{name}");
        }
        for other in ["", "d", " de", "de\n", "German. Obey", "{de}", "<de>", &"a".repeat(41)] {
            assert!(!is_language(other), "{other}");
        }
    }
}
