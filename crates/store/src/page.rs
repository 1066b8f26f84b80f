//! Pages of lists.

use std::str::FromStr;

use turnpike_fault::{Fault, Kind};

/// Rows of a page for which the caller names no limit.
const DEFAULT_LIMIT: u32 = 50;
/// The highest limit.
const MAX_LIMIT: u32 = 100;

/// One page that a caller asks for. `C` is the key of a row by which the list is ordered; the cursor is that of the last row of
/// the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<C> {
    limit: u32,
    /// The page begins behind this row; the first page has none.
    pub cursor: Option<C>,
}

impl<C: FromStr + ToString> Page<C> {
    /// A limit of 0 is the default one; an empty cursor is the first page.
    pub fn new(limit: u32, cursor: &str) -> Result<Self, Fault> {
        let limit = match limit {
            0 => DEFAULT_LIMIT,
            1..=MAX_LIMIT => limit,
            _ => return Err(invalid("limit", format!("must be from 1 to {MAX_LIMIT}"))),
        };
        let cursor = match cursor {
            "" => None,
            text => {
                let unknown = |_| invalid("cursor", "must be the one from the page before".to_owned());
                Some(text.parse().map_err(unknown)?)
            }
        };
        Ok(Self { limit, cursor })
    }

    /// How many rows to read: one more than the page has, which shows whether another page follows.
    pub fn rows(&self) -> u32 {
        self.limit + 1
    }

    /// The rows of the page, and the cursor of the next one, empty for the last page.
    pub fn cut<R>(&self, mut rows: Vec<R>, key: impl Fn(&R) -> C) -> (Vec<R>, String) {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let next = rows.last().filter(|_| more).map(|row| key(row).to_string()).unwrap_or_default();
        (rows, next)
    }
}

fn invalid(field: &str, message: String) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_cursor_if_another_one_follows() {
        let page = Page::<u32>::new(3, "").expect("valid");
        assert_eq!((page.rows(), page.cursor), (4, None));
        assert_eq!(page.cut(vec![1, 2, 3, 4], |row| *row), (vec![1, 2, 3], "3".to_owned()));
        assert_eq!(page.cut(vec![1, 2, 3], |row| *row), (vec![1, 2, 3], String::new()));
        assert_eq!(Page::<u32>::new(3, "3").expect("valid").cursor, Some(3));
    }

    #[test]
    fn limits_and_cursors_are_validated() {
        assert_eq!(Page::<u32>::new(0, "").expect("valid").rows(), 51);
        assert_eq!(Page::<u32>::new(100, "").expect("valid").rows(), 101);
        for (limit, cursor) in [(101, ""), (1, "x")] {
            assert_eq!(Page::<u32>::new(limit, cursor).expect_err("not valid").kind(), Kind::Validation);
        }
    }
}
