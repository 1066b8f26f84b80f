//! What the measurements amount to.

use turnpike_testkit::word_errors;

use super::{live::Event, material::Material, offline::Whole};

/// One row of the table.
pub(super) struct Results {
    name: String,
    whole: Option<(f64, f64)>,
    errors: f64,
    /// Milliseconds from the onset of each sentence to its first caption, and from its end to its last final.
    first: Vec<f64>,
    last: Vec<f64>,
    /// From the onset that the recogniser reports to the first caption.
    reported: Vec<f64>,
    cores: f64,
}

impl Results {
    /// `heard`: of each session; `cores`: of one session.
    pub(super) fn of(name: &str, material: &Material, heard: &[Vec<Event>], cores: f64, whole: Option<Whole>) -> Self {
        let said = material.said();
        let clips: String = material.clips.iter().map(|clip| format!("{} ", clip.text)).collect();
        let (mut first, mut last, mut reported, mut errors) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for events in heard {
            let finals: Vec<&str> =
                events.iter().filter(|event| event.is_final).map(|event| event.text.as_str()).collect();
            errors += word_errors(&said, &finals.join(" ")) / heard.len() as f64;
            let (mut begun, mut ended) = (vec![None; material.utterances.len()], vec![None; material.utterances.len()]);
            for event in events {
                let Some(n) = material.at(event.at) else { continue };
                let utterance = &material.utterances[n];
                if begun[n].is_none() {
                    begun[n] = Some((event.at - utterance.onset) * 1000.0);
                    reported.extend(event.onset.map(|onset| (event.at - onset) * 1000.0));
                }
                if event.is_final {
                    ended[n] = Some((event.at - utterance.end) * 1000.0);
                }
            }
            first.extend(begun.into_iter().flatten());
            last.extend(ended.into_iter().flatten());
        }
        let whole = whole.map(|whole| (word_errors(&clips, &whole.text), whole.cpu));
        Self { name: name.to_owned(), whole, errors, first, last, reported, cores }
    }
}

pub(super) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Nearest rank.
    let rank = ((sorted.len() as f64 * share).ceil() as usize).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

/// `p50 / p95`, in milliseconds.
pub(super) fn spread(values: Vec<f64>) -> String {
    format!("{:.0} / {:.0} ms", percentile(&values, 0.5), percentile(&values, 0.95))
}

pub(super) fn print(rows: &[Results]) {
    println!(
        "\n| | WER, whole | WER, live | CPU, whole | cores, live | first caption, p50 / p95 | final, p50 / p95 |\n|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let (errors, cpu) = match row.whole {
            Some((errors, cpu)) => (format!("{:.1} %", errors * 100.0), format!("{cpu:.3} s/s")),
            None => ("".to_owned(), "".to_owned()),
        };
        println!(
            "| {} | {errors} | {:.1} % | {cpu} | {:.2} | {} | {} |",
            row.name,
            row.errors * 100.0,
            row.cores,
            spread(row.first.clone()),
            spread(row.last.clone())
        );
    }
    println!();
    for row in rows.iter().filter(|row| !row.reported.is_empty()) {
        println!("{}: first caption after the onset that it reports: {}", row.name, spread(row.reported.clone()));
    }
}
