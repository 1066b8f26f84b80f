//! What was measured of one gateway, and how it is printed.

use super::{
    streams::{Closes, Delay},
    unary::{AtRate, Maximum},
};
use crate::resources::Used;

/// The measurements of one gateway. `None`: the measurement failed or does not apply.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Why there are no measurements.
    pub(crate) missing: Option<String>,
    pub(crate) unary: Option<AtRate>,
    pub(crate) maximum: Option<Maximum>,
    pub(crate) delay: Option<Delay>,
    pub(crate) closes: Option<Closes>,
    pub(crate) idle: Option<u64>,
    pub(crate) stream_memory: Option<u64>,
}

/// A request that was due but sent later than this, in microseconds at p99, means that the load generator or the machine was too
/// slow.
const LATEST: u64 = 500;

/// A delay of chunks without a gateway, in microseconds at p99, above which the generator, the upstream or the machine is too slow.
const SLOWEST: u64 = 1000;

/// Cores that programs other than the measured ones may use.
const OTHERS: f64 = 0.15;

impl Row {
    /// Why the measurements say little about this gateway.
    pub(crate) fn void(&self, direct: Option<&Row>) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(unary) = &self.unary {
            if unary.late_p99 > LATEST {
                reasons.push(format!("requests were sent up to {} ms late (p99)", millis(unary.late_p99)));
            }
            if unary.failures > 0 {
                reasons.push(format!("{} of {} requests failed", unary.failures, unary.failures + unary.answers));
            }
        }
        if let Some(delay) = &self.delay {
            if delay.chunks != delay.expected {
                reasons.push(format!("{} of {} chunks arrived", delay.chunks, delay.expected));
            }
            if self.name == "direct" && delay.p99 > SLOWEST {
                reasons
                    .push("chunks were late without any gateway, so the delays of all gateways say little".to_owned());
            }
        }
        let direct_rate = direct.and_then(|direct| direct.maximum.as_ref());
        if let (Some(own), Some(direct)) = (&self.maximum, direct_rate) {
            if own.failures > 0 {
                reasons.push(format!("{} requests failed at the maximum rate", own.failures));
            }
            if self.name != "direct" && own.per_second > 0.8 * direct.per_second {
                reasons.push("at the maximum rate the load generator or the upstream was the bottleneck".to_owned());
            }
        }
        reasons
    }
}

/// Prints the tables. Values of `direct` are subtracted from the latency of answers in one piece.
pub(crate) fn print(rows: &[Row]) {
    let direct = rows.iter().find(|row| row.name == "direct");
    println!();
    println!(
        "| gateway | answers in one piece: added p50 / p99 | at most | chunk delay p50 / p99 | left: upstream sees it after (unary, before head, before first token, streaming) | memory idle | each open stream |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        if let Some(missing) = &row.missing {
            println!("| {} | not measured: {missing} | | | | | |", row.name);
            continue;
        }
        let unary = row.unary.as_ref().map_or_else(String::new, |unary| {
            match direct.and_then(|direct| direct.unary.as_ref()) {
                Some(base) if row.name != "direct" => {
                    let at = if unary.rate == base.rate { String::new() } else { format!(" (at {}/s)", unary.rate) };
                    format!("{} / {} ms{at}", signed(unary.p50, base.p50), signed(unary.p99, base.p99))
                }
                _ => format!("{} / {} ms in all", millis(unary.p50), millis(unary.p99)),
            }
        });
        let maximum = row.maximum.as_ref().map_or_else(String::new, |maximum| format!("{:.0}/s", maximum.per_second));
        let delay = row
            .delay
            .as_ref()
            .map_or_else(String::new, |delay| format!("{} / {} ms", millis(delay.p50), millis(delay.p99)));
        let closes = row.closes.as_ref().map_or_else(String::new, |closes| {
            let phases = [closes.unary, closes.before_head, closes.before_first, closes.streaming];
            phases.map(|phase| phase.map_or("not within 2 s".to_owned(), |took| format!("{took:.1} ms"))).join(", ")
        });
        let idle = row.idle.map_or_else(String::new, |bytes| format!("{:.0} MB", bytes as f64 / 1e6));
        let stream = row.stream_memory.map_or_else(String::new, |bytes| format!("{:.0} KB", bytes as f64 / 1e3));
        println!("| {} | {unary} | {maximum} | {delay} | {closes} | {idle} | {stream} |", row.name);
    }
    println!();
    for row in rows {
        let used = [
            ("rate", row.unary.as_ref().map(|unary| unary.used)),
            ("maximum", row.maximum.as_ref().map(|maximum| maximum.used)),
            ("streams", row.delay.as_ref().map(|delay| delay.used)),
        ];
        let used: Vec<String> =
            used.into_iter().filter_map(|(what, used)| Some(format!("{what} {}", cores(used?)))).collect();
        if !used.is_empty() {
            println!("{}: cores used by generator, gateway, whole machine: {}", row.name, used.join("; "));
        }
        for reason in row.void(direct) {
            println!("VOID {}: {reason}", row.name);
        }
    }
}

/// Says so if other programs used the machine while nothing was measured.
pub(crate) fn busy(quiet: Used) -> Option<String> {
    let others = quiet.machine - quiet.generator - quiet.target;
    (others > OTHERS).then(|| format!("VOID all: other programs use {others:.2} cores of this machine"))
}

fn cores(used: Used) -> String {
    format!("{:.2}, {:.2}, {:.2}", used.generator, used.target, used.machine)
}

fn millis(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1000.0)
}

fn signed(value: u64, base: u64) -> String {
    format!("{:.2}", (value as f64 - base as f64) / 1000.0)
}
