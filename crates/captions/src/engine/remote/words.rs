//! The words of a response (`verbose_json`).

use serde::Deserialize;

use crate::engine::{EngineError, Heard, Hypothesis};

#[derive(Deserialize)]
struct Response {
    text: String,
    #[serde(default)]
    words: Vec<Timed>,
    #[serde(default)]
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Timed {
    start: f32,
    end: f32,
}

#[derive(Deserialize)]
struct Segment {
    avg_logprob: Option<f32>,
}

/// The words of a response about so many seconds of audio.
pub(super) fn parse(body: &[u8], seconds: f32) -> Result<Hypothesis, EngineError> {
    let response: Response = serde_json::from_slice(body)
        .map_err(|error| EngineError(format!("the server of transcriptions sent no verbose_json: {error}")))?;
    let probabilities: Vec<f32> =
        response.segments.iter().filter_map(|segment| segment.avg_logprob).map(f32::exp).collect();
    let confidence = match probabilities.len() {
        0 => 1.0, // unknown
        count => (probabilities.iter().sum::<f32>() / count as f32).clamp(0.0, 1.0),
    };
    // The text has the punctuation, the list of words the times. Their numbers differ if the server splits words in another way:
    // the words of the text then share the time by their length.
    let texts: Vec<&str> = response.text.split_whitespace().collect();
    let times: Vec<(f32, f32)> = match response.words.len() == texts.len() {
        true => response.words.iter().map(|word| (word.start, word.end)).collect(),
        false => {
            let first = response.words.first().map_or(0.0, |word| word.start);
            let last = response.words.last().map_or(seconds, |word| word.end);
            shared(&texts, first, last)
        }
    };
    let word = |(text, (start, end)): (&str, (f32, f32))| Heard { text: text.to_owned(), start, end, confidence };
    Ok(Hypothesis { words: texts.into_iter().zip(times).map(word).collect() })
}

fn shared(texts: &[&str], first: f32, last: f32) -> Vec<(f32, f32)> {
    let all: usize = texts.iter().map(|text| text.chars().count()).sum();
    let mut before = 0;
    let place = |characters: usize| first + (last - first) * characters as f32 / all.max(1) as f32;
    let time = |text: &&str| {
        let start = before;
        before += text.chars().count();
        (place(start), place(before))
    };
    texts.iter().map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &str) -> Vec<(String, f32, f32)> {
        let heard = parse(body.as_bytes(), 2.0).expect("a response");
        heard.words.into_iter().map(|word| (word.text, word.start, word.end)).collect()
    }

    #[test]
    fn words_have_the_punctuation_of_the_text_and_the_times_of_the_list() {
        let body = r#"{"task":"transcribe","text":" He was. ","words":[{"word":"He","start":0.5,"end":0.75},
            {"word":"was","start":0.75,"end":1.0}],"segments":[{"avg_logprob":0.0}]}"#;
        assert_eq!(words(body), [("He".into(), 0.5, 0.75), ("was.".into(), 0.75, 1.0)]);
        assert_eq!(words(r#"{"text":"aa bb"}"#), [("aa".into(), 0.0, 1.0), ("bb".into(), 1.0, 2.0)]);
        assert!(words(r#"{"text":""}"#).is_empty());
        assert!(parse(br#"{"error":{}}"#, 1.0).is_err());
    }
}
