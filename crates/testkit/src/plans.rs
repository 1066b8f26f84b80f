//! Query plans of the statements that a test has executed: whether each uses an index or scans a whole table.

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

/// The statements executed in this process since [`Statements::capture`], including those of tests that run at the same time.
pub struct Statements(());

static CAPTURED: OnceLock<Mutex<BTreeSet<String>>> = OnceLock::new();

impl Statements {
    pub fn capture() -> Self {
        CAPTURED.get_or_init(|| {
            // Fails only if a test has installed another global subscriber. Then no statement is collected, and
            // `assert_indexed` fails.
            let _ = tracing::subscriber::set_global_default(Collector);
            Mutex::default()
        });
        Self(())
    }

    /// Panics if no executed statement contains one of the texts in `wanted`, or if an executed statement scans a whole table.
    /// A statement that contains a text in `bounded` may scan: it has a limit, or its table is small.
    pub async fn assert_indexed(&self, database: &Database, wanted: &[&str], bounded: &[&str]) {
        let statements = CAPTURED.get().expect("capture was called").lock().expect("no panic").clone();
        for part in wanted {
            assert!(statements.iter().any(|sql| sql.contains(part)), "no statement with {part:?}: {statements:#?}");
        }
        let mut problems = String::new();
        for sql in statements.iter().filter(|sql| is_product_statement(sql)) {
            let plan = explain(database, sql).await;
            let scans = plan.iter().filter(|line| {
                // `part` is the alias of the subqueries that a list over several states combines, `path` a recursive query that
                // follows its own rows. `M` is a search in a full-text table.
                let subquery = line.starts_with("SCAN part") || *line == "SCAN path";
                let search = line.contains("VIRTUAL TABLE INDEX") && line.contains(":M");
                let rows = is_row_literal(line) || subquery || search;
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

/// Whether the scan reads rows that are part of the statement (`VALUES`), not a table.
fn is_row_literal(line: &str) -> bool {
    let of = line.trim_start_matches("SCAN ");
    of.contains("CONSTANT ROW") || of.contains("VALUES CLAUSE") || ["held", "seen", "appended"].contains(&of)
}

/// Whether the product executes this statement. Only tests count rows.
fn is_product_statement(sql: &str) -> bool {
    let first = sql.split_whitespace().next().unwrap_or_default();
    ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&first)
        && sql != "SELECT 1"
        && !["_sqlx", "pg_", "current_database", "COUNT(*)"].iter().any(|other| sql.contains(other))
}

async fn explain(database: &Database, sql: &str) -> Vec<String> {
    let mut connection = AnyConnection::connect(database.url()).await.expect("the database accepts a connection");
    let (rows, column) = if database.url().starts_with("sqlite:") {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        (sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await, "detail")
    } else {
        // The generic plan, which depends on no parameter values. With sequential scans off, an index is used if one fits.
        let parameters = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; parameters].join(", ");
        let arguments = if parameters == 0 { String::new() } else { format!("({nulls})") };
        let prepare =
            format!("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; PREPARE explained AS {sql}");
        if let Err(error) = sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut connection).await {
            panic!("{error}: {sql}");
        }
        let explain = format!("EXPLAIN EXECUTE explained{arguments}");
        (sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut connection).await, "QUERY PLAN")
    };
    let rows = rows.unwrap_or_else(|error| panic!("{error}: {sql}"));
    rows.iter().map(|row| row.try_get(column).expect("a row of the plan has text")).collect()
}

/// Collects statements from the log events of sqlx.
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
