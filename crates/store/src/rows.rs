//! The placeholders of a statement over several rows.

use std::fmt::Write;

/// `($1, $2), ($3, $4)…`: placeholders for this many rows, whose columns have these SQL types. A type is needed wherever the
/// rows are not inserted as they are, because Postgres would take them for text; else it is empty.
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
        // Cannot fail: a String takes everything.
        let _ = match types[column] {
            "" => write!(sql, "{before}${}", n + 1),
            kind => write!(sql, "{before}CAST(${} AS {kind})", n + 1),
        };
    }
    sql.push(')');
    sql
}
