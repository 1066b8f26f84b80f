//! The model's tokens: bytes of UTF-8, of which a word begins with `▁`.

use super::EngineError;

const WORD: &[u8] = "\u{2581}".as_bytes();

pub(super) struct Tokenizer {
    pieces: Vec<Vec<u8>>,
}

impl Tokenizer {
    /// The file has, for each token, its length (one byte, or two if the first is 128 or more) and its bytes.
    pub(super) fn parse(file: &[u8]) -> Result<Self, EngineError> {
        let mut pieces = Vec::new();
        let mut rest = file;
        while let Some((&low, after)) = rest.split_first() {
            let (length, after) = match (low, after.split_first()) {
                (..128, _) => (usize::from(low), after),
                (_, Some((&high, after))) => (usize::from(high) * 128 + usize::from(low) - 128, after),
                (_, None) => return Err(cut()),
            };
            let (piece, after) = after.split_at_checked(length).ok_or_else(cut)?;
            pieces.push(piece.to_vec());
            rest = after;
        }
        Ok(Self { pieces })
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether the token begins a word, and its bytes.
    pub(super) fn piece(&self, token: i32) -> (bool, &[u8]) {
        let piece = usize::try_from(token).ok().and_then(|token| self.pieces.get(token)).map_or(&[][..], Vec::as_slice);
        match piece.strip_prefix(WORD) {
            Some(rest) => (true, rest),
            None => (false, piece),
        }
    }
}

fn cut() -> EngineError {
    EngineError("tokenizer.bin ends within a token".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_or_two_bytes() {
        let long = [b'x'; 300];
        let mut file = vec![0, 4, 0xe2, 0x96, 0x81, b'a', 2, b'b', b'c', 128 + 44, 2];
        file.extend_from_slice(&long);
        let tokenizer = Tokenizer::parse(&file).expect("valid");
        assert_eq!(tokenizer.len(), 4);
        assert_eq!(tokenizer.piece(1), (true, &b"a"[..]));
        assert_eq!(tokenizer.piece(2), (false, &b"bc"[..]));
        assert_eq!(tokenizer.piece(3), (false, &long[..]));
        assert_eq!(tokenizer.piece(4), (false, &b""[..]));
        assert!(Tokenizer::parse(&file[..20]).is_err());
    }
}
