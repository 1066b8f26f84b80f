//! How a database would execute the statements that a test has made: from an index, or by looking at every row.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Write as _},
    sync::{Mutex, OnceLock},
};

use sqlx::{AnyConnection, Connection, Row};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::Database;

/// Every statement that was executed in this process since [`Statements::capture`]; those of tests that run beside are among them.
pub struct Statements(());

static CAPTURED: OnceLock<Mutex<BTreeSet<String>>> = OnceLock::new();

impl Statements {
    /// Begins to collect statements.
    pub fn capture() -> Self {
        CAPTURED.get_or_init(|| {
            // Fails only if a test has a subscriber of its own for the whole process; then no statement is found.
            let _ = tracing::subscriber::set_global_default(Collector);
            Mutex::default()
        });
        Self(())
    }

    /// Panics if one of the statements that mention this text was never executed, or if one that was executed would look at
    /// every row of a table. `bounded` names parts of statements that may, because they stop at a limit or read a small table.
    pub async fn assert_indexed(&self, database: &Database, wanted: &[&str], bounded: &[&str]) {
        let statements = CAPTURED.get().expect("capturing").lock().expect("no panic").clone();
        for part in wanted {
            assert!(statements.iter().any(|sql| sql.contains(part)), "no statement with {part:?}: {statements:#?}");
        }
        let mut problems = String::new();
        for sql in statements.iter().filter(|sql| is_ours(sql)) {
            let plan = explain(database, sql).await;
            let scans = plan.iter().filter(|line| {
                // `part` is what lists of several states are composed of.
                let rows = is_list_of_rows(line) || line.starts_with("SCAN part");
                line.starts_with("SCAN ") && !rows || line.contains("Seq Scan on")
            });
            let scans: Vec<_> = scans.collect();
            if !scans.is_empty() && !bounded.iter().any(|part| sql.contains(part)) {
                let _ = writeln!(problems, "{scans:?} of {plan:#?} for {sql}\n");
            }
        }
        assert!(problems.is_empty(), "{problems}");
    }
}

/// Rows that came with the statement.
fn is_list_of_rows(line: &str) -> bool {
    let of = line.trim_start_matches("SCAN ");
    of.contains("CONSTANT ROW") || of.contains("VALUES CLAUSE") || ["held", "seen", "appended"].contains(&of)
}

/// Tests count rows; the product does not.
fn is_ours(sql: &str) -> bool {
    let first = sql.split_whitespace().next().unwrap_or_default();
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&first)
        && sql != "SELECT 1"
        && !["_sqlx", "pg_", "current_database", "COUNT(*)"].iter().any(|other| sql.contains(other))
}

async fn explain(database: &Database, sql: &str) -> Vec<String> {
    let mut connection = AnyConnection::connect(database.url()).await.expect("the database");
    let (rows, column) = if database.url().starts_with("sqlite:") {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        (sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await, "detail")
    } else {
        // The plan for any values, where an index is used if there is one that can be.
        let parameters = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; parameters].join(", ");
        let arguments = if parameters == 0 { String::new() } else { format!("({nulls})") };
        let before = format!("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; PREPARE it AS {sql}");
        if let Err(error) = sqlx::raw_sql(sqlx::AssertSqlSafe(before)).execute(&mut connection).await {
            panic!("{error}: {sql}");
        }
        let explain = format!("EXPLAIN EXECUTE it{arguments}");
        (sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut connection).await, "QUERY PLAN")
    };
    let rows = rows.unwrap_or_else(|error| panic!("{error}: {sql}"));
    rows.iter().map(|row| row.try_get(column).expect("a line of a plan")).collect()
}

/// Takes the statements from what sqlx logs.
struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query" && *metadata.level() <= Level::DEBUG
    }

    fn event(&self, event: &Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        let sql = if statement.whole.is_empty() { statement.summary } else { statement.whole };
        let captured = CAPTURED.get().map(|captured| captured.lock().expect("no panic"));
        captured.map(|mut captured| captured.insert(sql.trim().to_owned()));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Statement {
    summary: String,
    whole: String,
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
