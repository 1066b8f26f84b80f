//! What was measured of one server, and how it is printed.

use super::load::Outcome;

/// The measurements of one server.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Why there are no measurements.
    pub(crate) missing: Option<String>,
    pub(crate) paced: Option<Outcome>,
    pub(crate) saturated: Option<Outcome>,
    pub(crate) groups: Option<Outcome>,
    /// Bytes of each idle socket.
    pub(crate) idle: Option<u64>,
}

pub(crate) fn print(rows: &[Row]) {
    println!();
    println!(
        "| server | 1,000 sockets × 20/s: deliveries for each second of CPU | p99 | saturated | groups of ten, 1,000/s: p50 / p99 | idle socket |"
    );
    println!("|---|---|---|---|---|---|");
    for row in rows {
        match (&row.missing, &row.paced, &row.saturated, &row.groups, row.idle) {
            (None, Some(paced), Some(saturated), Some(groups), Some(idle)) => println!(
                "| {} | {} | {:.1} ms | {} | {:.2} / {:.2} ms | {:.2} KB |",
                row.name,
                thousands(paced),
                paced.p99_ms(),
                thousands(saturated),
                groups.p50 as f64 / 1000.0,
                groups.p99_ms(),
                idle as f64 / 1000.0
            ),
            (missing, ..) => println!(
                "| {} | not measured: {} | | | | |",
                row.name,
                missing.as_deref().unwrap_or("a measurement is missing")
            ),
        }
    }
    println!();
    for row in rows {
        for (what, outcome) in [("20/s", &row.paced), ("saturated", &row.saturated), ("groups of ten", &row.groups)] {
            if let Some(outcome) = outcome {
                println!("{}", super::line(&format!("{}, {what}", row.name), outcome));
            }
        }
    }
}

/// Deliveries for each second of CPU, and how many were lost, if any.
fn thousands(outcome: &Outcome) -> String {
    let lost = outcome.expected - outcome.delivered.min(outcome.expected);
    let lost = match lost {
        0 => String::new(),
        _ => format!(", {:.1} % lost", lost as f64 * 100.0 / outcome.expected as f64),
    };
    let void = if outcome.void().is_some() { ", void" } else { "" };
    format!("{:.0}k{lost}{void}", outcome.per_cpu_second() / 1000.0)
}
