//! The scopes of API keys: what a key may be used for, within what its owner may do.

use std::fmt;

/// A part of the API. The words are in tokens, databases and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything that the owner may do, also in parts of the API that are added later.
    All,
    /// Reading in every part except `admin`: requests that change nothing, and following topics.
    Read,
    /// Vehicles and commands.
    Vehicles,
    /// Conversations.
    Chat,
    /// The OpenAI-compatible routes.
    Llm,
    /// Live captions.
    Captions,
    /// The health of the deployment, for an owner with the role admin. No key manages accounts.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] =
        [Self::All, Self::Read, Self::Vehicles, Self::Chat, Self::Llm, Self::Captions, Self::Admin];

    /// The word of the scope.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Read => "read",
            Self::Vehicles => "vehicles",
            Self::Chat => "chat",
            Self::Llm => "llm",
            Self::Captions => "captions",
            Self::Admin => "admin",
        }
    }

    /// The scope of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    /// Whether the scope `read` allows to read what this scope names.
    pub const fn is_readable(self) -> bool {
        !matches!(self, Self::All | Self::Admin)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes. `Display` gives their words with spaces between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// Reads words with spaces between them. Words of a later version are left out: they allow nothing here.
    pub fn from_words(words: &str) -> Self {
        words.split(' ').filter_map(Scope::from_word).collect()
    }

    /// Whether the set has no scope.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Whether a key with these scopes may be used in the part of the API that `needed` names. `reads`: the request changes
    /// nothing.
    pub const fn allow(self, needed: Scope, reads: bool) -> bool {
        self.has(Scope::All) || self.has(needed) || (reads && needed.is_readable() && self.has(Scope::Read))
    }

    const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_its_scope() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_word(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::from_word("ALL"), None);
    }

    #[test]
    fn words_of_a_later_version_allow_nothing() {
        let scopes = Scopes::from_words("chat teleport read");
        assert_eq!(scopes, [Scope::Read, Scope::Chat].into_iter().collect());
        assert_eq!(scopes.to_string(), "read chat");
        assert!(Scopes::from_words("").is_empty() && Scopes::from_words("teleport").is_empty());
    }

    #[test]
    fn a_key_does_what_its_scopes_name_and_nothing_else() {
        let allow = |words, needed, reads| Scopes::from_words(words).allow(needed, reads);
        for needed in Scope::ALL {
            assert!(allow("all", needed, false), "{needed:?}");
            assert!(!allow("", needed, true), "{needed:?}");
        }
        assert!(allow("vehicles", Scope::Vehicles, false) && !allow("vehicles", Scope::Chat, true));
        assert!(allow("read", Scope::Vehicles, true) && !allow("read", Scope::Vehicles, false));
        assert!(
            !allow("read", Scope::Admin, true) && !allow("read vehicles chat llm captions admin", Scope::All, true)
        );
    }
}
