//! Enums whose members have a name in frames and in databases.

/// Declares an enum with `ALL`, `as_str`, `from_word` and `Display`, from one list of members and their names.
macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$member_doc])* $member,)*
        }

        impl $name {
            /// Every member.
            pub const ALL: &[Self] = &[$(Self::$member),*];

            /// The name in frames and in databases.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$member => $word,)*
                }
            }

            /// The member with this name.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$member),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use named_enum;
