//! What was measured of one server, and how it is printed.

use super::load::Outcome;

/// The measurements of one server.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Why there are no measurements.
    pub(crate) missing: Option<String>,
    /// One for each round.
    pub(crate) paced: Vec<Outcome>,
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
        match (&row.missing, middle(&row.paced), &row.saturated, &row.groups, row.idle) {
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
        let paced = row.paced.iter().map(|outcome| ("20/s", outcome));
        let others = [("saturated", &row.saturated), ("groups of ten", &row.groups)];
        let others = others.into_iter().filter_map(|(what, outcome)| Some((what, outcome.as_ref()?)));
        for (what, outcome) in paced.chain(others) {
            println!("{}", super::line(&format!("{}, {what}", row.name), outcome));
        }
    }
    if let [first, others @ ..] = rows {
        others.iter().for_each(|other| print_ratios(first, other));
    }
}

/// The round in the middle.
fn middle(rounds: &[Outcome]) -> Option<&Outcome> {
    let mut rounds: Vec<_> = rounds.iter().collect();
    rounds.sort_by(|a, b| a.per_cpu_second().total_cmp(&b.per_cpu_second()));
    rounds.get(rounds.len() / 2).copied()
}

/// What the first server delivers for each second of CPU, as a multiple of the other, in each round.
fn print_ratios(first: &Row, other: &Row) {
    let rounds = first.paced.iter().zip(&other.paced);
    let mut ratios: Vec<_> = rounds.map(|(first, other)| first.per_cpu_second() / other.per_cpu_second()).collect();
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("{} at 20/s: {median:.2} × {} (rounds: {ratios:.2?})", first.name, other.name);
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
