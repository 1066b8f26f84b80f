//! Finals as cues that can be read: two lines of at most 42 characters, and at most 17 characters a second where the speech leaves
//! time for that.

use std::fmt::Write;

use turnpike_proto::captions::v1::Final;

/// Characters of a line.
const LINE: usize = 42;
/// Characters a second that a viewer reads.
const READ: u64 = 17;
/// The longest cue, unless its words take longer.
const LONGEST_MS: u64 = 7_000;
/// Cues are at least this far apart, and at least this long.
const APART_MS: u64 = 1;

/// One cue.
#[derive(Debug, PartialEq)]
struct Cue {
    start_ms: u64,
    end_ms: u64,
    lines: Vec<String>,
}

/// As WebVTT.
pub(crate) fn vtt(finals: &[Final]) -> String {
    let mut text = "WEBVTT\n".to_owned();
    for Cue { start_ms, end_ms, lines } in cues(finals) {
        let _ = write!(text, "\n{} --> {}\n", time(start_ms, '.'), time(end_ms, '.'));
        for line in lines {
            let _ = writeln!(text, "{}", line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
        }
    }
    text
}

/// As SubRip, which has no way to escape: what a player would read as a tag or a time is replaced.
pub(crate) fn srt(finals: &[Final]) -> String {
    let mut text = String::new();
    for (n, Cue { start_ms, end_ms, lines }) in cues(finals).into_iter().enumerate() {
        let _ = write!(
            text,
            "{}{}\n{} --> {}\n",
            if n == 0 { "" } else { "\n" },
            n + 1,
            time(start_ms, ','),
            time(end_ms, ',')
        );
        for line in lines {
            let _ =
                writeln!(text, "{}", line.replace("-->", "→").replace('<', "‹").replace('>', "›").replace('{', "("));
        }
    }
    text
}

fn time(ms: u64, point: char) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}{point}{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn cues(finals: &[Final]) -> Vec<Cue> {
    let mut cues: Vec<Cue> = finals.iter().flat_map(split).collect();
    cues.sort_by_key(|cue| cue.start_ms);
    // Monotone and not overlapping.
    let mut free = 0;
    for cue in &mut cues {
        cue.start_ms = cue.start_ms.max(free);
        cue.end_ms = cue.end_ms.max(cue.start_ms + APART_MS);
        free = cue.end_ms + APART_MS;
    }
    // A cue that is too short to be read stays until the next one.
    for n in 0..cues.len() {
        let next = cues.get(n + 1).map_or(u64::MAX, |next| next.start_ms - APART_MS);
        let cue = &mut cues[n];
        let characters: usize = cue.lines.iter().map(|line| line.chars().count()).sum();
        let wanted = cue.start_ms + (characters as u64 * 1000).div_ceil(READ);
        cue.end_ms = cue.end_ms.max(wanted.min(next));
    }
    cues
}

/// The cues of one final.
fn split(last: &Final) -> Vec<Cue> {
    let mut cues = Vec::new();
    let mut current: Option<Cue> = None;
    for (word, start_ms, end_ms) in words(last) {
        let joins = current.as_ref().is_some_and(|cue| {
            let sentence_ended = cue.lines.concat().len() > LINE / 2
                && cue.lines.last().is_some_and(|line| line.ends_with(['.', '?', '!']));
            !sentence_ended && end_ms.saturating_sub(cue.start_ms) <= LONGEST_MS && fits(cue, &word)
        });
        match &mut current {
            Some(cue) if joins => {
                cue.end_ms = end_ms;
                add(&mut cue.lines, &word);
            }
            _ => {
                cues.extend(current.take());
                current = Some(Cue { start_ms, end_ms, lines: vec![word] });
            }
        }
    }
    cues.extend(current);
    cues
}

fn fits(cue: &Cue, word: &str) -> bool {
    let mut lines = cue.lines.clone();
    add(&mut lines, word);
    lines.len() <= 2
}

fn add(lines: &mut Vec<String>, word: &str) {
    match lines.last_mut() {
        Some(line) if line.chars().count() + 1 + word.chars().count() <= LINE => {
            line.push(' ');
            line.push_str(word);
        }
        _ => lines.push(word.to_owned()),
    }
}

/// The words with their times. The words of a correction share the time of the final by their length.
fn words(last: &Final) -> Vec<(String, u64, u64)> {
    let pieces = |text: &str| -> Vec<String> {
        // A word that is longer than a line is broken.
        let characters: Vec<char> = text.chars().filter(|c| !c.is_control()).collect();
        characters.chunks(LINE).map(|piece| piece.iter().collect()).collect()
    };
    if !last.corrected {
        let timed = last
            .words
            .iter()
            .flat_map(|word| pieces(word.text.trim()).into_iter().map(|piece| (piece, word.start_ms, word.end_ms)));
        return timed.filter(|(word, _, _)| !word.is_empty()).collect();
    }
    let words: Vec<String> = last.text.split_whitespace().flat_map(pieces).collect();
    let all: usize = words.iter().map(|word| word.chars().count()).sum::<usize>().max(1);
    let length = last.end_ms.saturating_sub(last.start_ms);
    let mut before = 0;
    let place = |characters: usize| last.start_ms + length * characters as u64 / all as u64;
    let mut timed = Vec::new();
    for word in words {
        let start = before;
        before += word.chars().count();
        timed.push((word, place(start), place(before)));
    }
    timed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use turnpike_proto::captions::v1::Word;

    use super::*;

    fn said(segment: u64, start_ms: u64, each_ms: u64, text: &str) -> Final {
        let word = |(n, text): (usize, &str)| Word {
            text: text.to_owned(),
            start_ms: start_ms + n as u64 * each_ms,
            end_ms: start_ms + (n as u64 + 1) * each_ms,
            confidence: 1.0,
        };
        let words: Vec<Word> = text.split_whitespace().enumerate().map(word).collect();
        let end_ms = words.last().map_or(start_ms, |word| word.end_ms);
        Final { segment, text: text.to_owned(), start_ms, end_ms, words, ..Final::default() }
    }

    #[test]
    fn files_are_as_players_expect_them() {
        let finals =
            [said(1, 500, 250, "He was not an ill disposed young man."), said(2, 3_600_000, 300, "R&D --> <b>no</b>")];
        assert_eq!(
            vtt(&finals),
            "WEBVTT\n\n00:00:00.500 --> 00:00:02.677\nHe was not an ill disposed young man.\n\n01:00:00.000 --> \
             01:00:01.000\nR&amp;D --&gt; &lt;b&gt;no&lt;/b&gt;\n"
        );
        assert_eq!(
            srt(&finals),
            "1\n00:00:00,500 --> 00:00:02,677\nHe was not an ill disposed young man.\n\n2\n01:00:00,000 --> \
             01:00:01,000\nR&D → ‹b›no‹/b›\n"
        );
        assert_eq!((vtt(&[]), srt(&[])), ("WEBVTT\n".to_owned(), String::new()));
    }

    #[test]
    fn a_correction_shares_the_time_of_its_final() {
        let corrected = Final { text: "aa bb".into(), corrected: true, ..said(1, 1000, 500, "xx yy") };
        assert_eq!(words(&corrected), [("aa".into(), 1000, 1500), ("bb".into(), 1500, 2000)]);
    }

    proptest! {
        #[test]
        fn cues_are_monotone_and_fit_two_lines(
            finals in prop::collection::vec((0..20_000_u64, 0..900_u64, "[a-z<>&.]{1,60}( [a-z.-]{1,12}){0,40}"), 0..6),
        ) {
            let finals: Vec<Final> = finals.iter().map(|(start, each, text)| said(1, *start, *each, text)).collect();
            let cues = cues(&finals);
            for cue in &cues {
                prop_assert!(cue.end_ms > cue.start_ms);
                prop_assert!((1..=2).contains(&cue.lines.len()), "{:?}", cue);
                prop_assert!(cue.lines.iter().all(|line| (1..=LINE).contains(&line.chars().count())), "{:?}", cue);
            }
            for pair in cues.windows(2) {
                prop_assert!(pair[1].start_ms > pair[0].end_ms, "{pair:?}");
            }
        }
    }
}
