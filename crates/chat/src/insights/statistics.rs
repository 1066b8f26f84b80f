//! What can be said about a series without a model: its trend, its outliers, its gaps. Pure.

use jiff::Timestamp;
use serde::Serialize;

/// Outliers and gaps that are listed; all are counted.
const LISTED: usize = 3;
/// A value is an outlier from this distance from the median, in robust standard deviations.
const OUTLIER: f64 = 3.5;
/// A robust standard deviation is this many median absolute deviations, if the values are normally distributed.
const MAD_TO_DEVIATION: f64 = 1.4826;
/// A gap is this many times as long as the median interval.
const GAP: f64 = 3.0;
/// The share of the variance that a trend explains.
const CLEAR: f64 = 0.3;
const DAY: f64 = 86_400.0;

/// The statistics of one metric. They are also what a model sees of it.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) metric: String,
    pub(crate) points: usize,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) mean: f64,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Per day; absent without a clear trend.
    pub(crate) trend_per_day: Option<f64>,
    /// The share of the variance that the trend explains.
    pub(crate) trend_share: f64,
    pub(crate) outliers: usize,
    /// The first of them: time and value.
    pub(crate) first_outliers: Vec<(String, f64)>,
    pub(crate) gaps: usize,
    pub(crate) longest_gap_hours: f64,
}

/// One thing that is worth saying.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) insight: String,
    pub(crate) confidence: f64,
    pub(crate) recommendations: Vec<String>,
}

/// At least one point, in the order of their times.
pub(crate) fn summarize(metric: &str, points: &[(Timestamp, f64)]) -> Summary {
    let mut values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    let mean = mean(&values);
    let median = median(&mut values);
    let (trend, share) = trend(points, mean);
    let is_outlier = outliers(&values, median);
    let outliers: Vec<_> = points.iter().filter(|(_, value)| is_outlier(*value)).collect();
    let (gaps, longest) = gaps(points);
    let time = |at: Option<&(Timestamp, f64)>| at.map(|(at, _)| at.to_string()).unwrap_or_default();
    Summary {
        metric: metric.to_owned(),
        points: points.len(),
        from: time(points.first()),
        to: time(points.last()),
        mean,
        median,
        min: values.first().copied().unwrap_or_default(),
        max: values.last().copied().unwrap_or_default(),
        trend_per_day: trend.filter(|_| share >= CLEAR),
        trend_share: share,
        outliers: outliers.len(),
        first_outliers: outliers.iter().take(LISTED).map(|(at, value)| (at.to_string(), *value)).collect(),
        gaps,
        longest_gap_hours: longest / 3600.0,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The slope per day of the line of least squares, and the share of the variance that it explains.
fn trend(points: &[(Timestamp, f64)], mean_value: f64) -> (Option<f64>, f64) {
    let days: Vec<f64> = points.iter().map(|(at, _)| at.duration_since(points[0].0).as_secs_f64() / DAY).collect();
    let mean_day = mean(&days);
    let (mut day_square, mut product, mut value_square) = (0.0, 0.0, 0.0);
    for (day, (_, value)) in days.iter().zip(points) {
        let (day, value) = (day - mean_day, value - mean_value);
        (day_square, product, value_square) =
            (day_square + day * day, product + day * value, value_square + value * value);
    }
    // Two points are always on a line.
    if points.len() < 3 || day_square <= f64::EPSILON || value_square <= f64::EPSILON {
        return (None, 0.0);
    }
    (Some(product / day_square), (product * product / (day_square * value_square)).clamp(0.0, 1.0))
}

fn outliers(values: &[f64], median_value: f64) -> impl Fn(f64) -> bool {
    let mut distances: Vec<f64> = values.iter().map(|value| (value - median_value).abs()).collect();
    let deviation = median(&mut distances) * MAD_TO_DEVIATION;
    move |value| deviation > 0.0 && (value - median_value).abs() > OUTLIER * deviation
}

/// How many there are, and the longest in seconds.
fn gaps(points: &[(Timestamp, f64)]) -> (usize, f64) {
    let intervals: Vec<f64> = points.windows(2).map(|two| two[1].0.duration_since(two[0].0).as_secs_f64()).collect();
    let usual = median(&mut intervals.clone());
    if intervals.len() < 2 || usual <= 0.0 {
        return (0, 0.0);
    }
    let gaps: Vec<f64> = intervals.into_iter().filter(|interval| *interval > GAP * usual).collect();
    (gaps.len(), gaps.into_iter().fold(0.0, f64::max))
}

impl Summary {
    /// What is worth saying, in the words of a program.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let say = |insight: String, confidence: f64| Finding { insight, confidence, recommendations: Vec::new() };
        let Self { metric, points, mean, min, max, .. } = self;
        let trend = match self.trend_per_day {
            Some(slope) if slope > 0.0 => format!("rising by {slope:.2} a day"),
            Some(slope) => format!("falling by {:.2} a day", -slope),
            None => "no clear trend".to_owned(),
        };
        let overview = format!("{metric}: {points} points, mean {mean:.1}, from {min:.1} to {max:.1}; {trend}.");
        let confidence = if self.trend_per_day.is_some() { self.trend_share.clamp(0.5, 0.95) } else { 0.5 };
        let mut findings = vec![say(overview, confidence)];
        findings.extend(self.named());
        if self.outliers > 0 {
            let list = self.first_outliers.iter().map(|(at, value)| format!("{value:.1} at {at}"));
            let list = list.collect::<Vec<_>>().join(", ");
            let n = self.outliers;
            findings.push(say(format!("{metric}: {n} of {points} values are far from the others: {list}."), 0.7));
        }
        if self.gaps > 0 {
            let (n, hours) = (self.gaps, self.longest_gap_hours);
            findings.push(say(format!("{metric}: {n} gaps in the data, the longest of {hours:.1} h."), 0.9));
        }
        findings
    }

    /// What is known about metrics with these names.
    fn named(&self) -> Option<Finding> {
        let (metric, mean) = (self.metric.as_str(), self.mean);
        if metric.contains("sleep") && metric.contains("efficiency") {
            let (word, advice) = match mean {
                mean if mean > 85.0 => ("excellent", None),
                mean if mean > 75.0 => ("good", None),
                _ => ("in need of attention", Some("Go to bed only when tired, and keep the same hours every day.")),
            };
            let insight = format!("Your sleep efficiency is {word}: {mean:.0} % on average.");
            let recommendations = advice.into_iter().map(str::to_owned).collect();
            return Some(Finding { insight, confidence: 0.8, recommendations });
        }
        (metric.contains("regularity") && mean < 0.7).then(|| Finding {
            insight: format!("Your days are irregular: {metric} is {mean:.2} on average, under 0.7."),
            confidence: 0.8,
            recommendations: vec!["Keep the same times for sleep and meals, also at weekends.".to_owned()],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn days(values: impl IntoIterator<Item = f64>) -> Vec<(Timestamp, f64)> {
        let at = |n: i64| Timestamp::from_second(1_763_700_000 + n * 86_400).expect("in range");
        (0..).map(at).zip(values).collect()
    }

    fn words(metric: &str, points: &[(Timestamp, f64)]) -> Vec<String> {
        summarize(metric, points).findings().into_iter().map(|finding| finding.insight).collect()
    }

    #[test]
    fn a_trend_is_told_only_if_it_is_clear() {
        let rising = days((0..20).map(|n| 100.0 + 2.0 * f64::from(n)));
        assert_eq!(
            words("steps", &rising),
            ["steps: 20 points, mean 119.0, from 100.0 to 138.0; rising by 2.00 a day."]
        );
        let noise = days((0..20).map(|n| if n % 2 == 0 { 90.0 } else { 110.0 }));
        assert_eq!(words("steps", &noise), ["steps: 20 points, mean 100.0, from 90.0 to 110.0; no clear trend."]);
        assert_eq!(words("steps", &days([7.0])), ["steps: 1 points, mean 7.0, from 7.0 to 7.0; no clear trend."]);
    }

    #[test]
    fn outliers_and_gaps_are_found() {
        let mut points = days((0..20).map(|n| 60.0 + f64::from(n % 3)));
        points[7].1 = 190.0;
        points.drain(10..15);
        let words = words("heart_rate", &points);
        assert!(
            words[1].starts_with("heart_rate: 1 of 15 values are far from the others: 190.0 at 2025-11-28T"),
            "{words:?}"
        );
        assert_eq!(words[2], "heart_rate: 1 gaps in the data, the longest of 144.0 h.");
    }

    #[test]
    fn sleep_efficiency_and_regularity_have_their_words() {
        let of = |metric: &str, value| words(metric, &days([value, value])).get(1).cloned().unwrap_or_default();
        assert!(of("sleep_efficiency", 86.0).contains("excellent"));
        assert!(of("sleep_efficiency", 80.0).contains("good"));
        assert!(of("sleep_efficiency", 75.0).contains("attention"));
        assert!(of("sleep.regularity", 0.69).contains("irregular"));
        assert_eq!(of("sleep.regularity", 0.7), "");
    }

    proptest! {
        #[test]
        fn any_valid_data_has_finite_statistics(values in prop::collection::vec((0..4_000_000_000_i64, -1e12..1e12_f64), 1..60)) {
            let mut points: Vec<_> = values.into_iter().map(|(s, v)| (Timestamp::from_second(s).expect("in range"), v)).collect();
            points.sort_by_key(|(at, _)| *at);
            let summary = summarize("steps", &points);
            prop_assert!(summary.mean.is_finite() && summary.median.is_finite() && summary.trend_share.is_finite());
            prop_assert!(summary.trend_per_day.is_none_or(f64::is_finite));
            prop_assert!(summary.findings().iter().all(|finding| (0.0..=1.0).contains(&finding.confidence)));
        }
    }
}
