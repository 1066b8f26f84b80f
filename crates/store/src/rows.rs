//! Statements over several rows: their placeholders, and how many rows they have.

use std::fmt::Write;

/// `($1, $2), ($3, $4)…`: placeholders for this many rows, whose columns have these SQL types. A type is needed where the
/// rows are not inserted directly, because Postgres would read the values as text; else it is empty.
///
/// ```
/// assert_eq!(turnpike_store::rows(2, &["", "BIGINT"]), "($1, CAST($2 AS BIGINT)), ($3, CAST($4 AS BIGINT))");
/// ```
pub fn rows(rows: usize, types: &[&str]) -> String {
    let mut sql = String::with_capacity(rows * types.len() * 24);
    for n in 0..rows * types.len() {
        let column = n % types.len();
        let before = match (n, column) {
            (0, _) => "(",
            (_, 0) => "), (",
            _ => ", ",
        };
        // Cannot fail: writing to a String never does.
        let _ = match types[column] {
            "" => write!(sql, "{before}${}", n + 1),
            kind => write!(sql, "{before}CAST(${} AS {kind})", n + 1),
        };
    }
    sql.push(')');
    sql
}

/// Divides items into parts whose lengths are powers of two, at most `most`. Statements over several rows then have few different
/// texts, so that a connection keeps all of them prepared.
///
/// ```
/// let parts: Vec<_> = turnpike_store::parts(&[1, 2, 3, 4, 5, 6, 7], 4).collect();
/// assert_eq!(parts, [&[1, 2, 3, 4][..], &[5, 6], &[7]]);
/// ```
pub fn parts<T>(items: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let length = rest.len().min(most).checked_ilog2().map(|log| 1 << log)?;
        let (part, after) = rest.split_at(length);
        rest = after;
        Some(part)
    })
}
