//! Word times: dynamic time warping over where each token has looked in the audio.

use rten_tensor::{NdTensor, prelude::*};

/// The first and the last frame of each token. `attention`: of some layers, `[heads, 1 + tokens, frames]`; row `n` is the one that
/// led to token `n`.
pub(super) fn spans(attention: &[NdTensor<f32, 3>], tokens: usize) -> Vec<(usize, usize)> {
    let Some(first) = attention.first() else { return Vec::new() };
    let frames = first.size(2);
    if frames == 0 || tokens == 0 {
        return Vec::new();
    }
    path(&costs(attention, tokens, frames), tokens, frames)
}

/// Low where the heads look: each head's attention is normalised for each frame over the tokens, then averaged.
fn costs(attention: &[NdTensor<f32, 3>], tokens: usize, frames: usize) -> Vec<f32> {
    let mut costs = vec![0.0; tokens * frames];
    for layer in attention {
        for head in 0..layer.size(0) {
            for frame in 0..frames {
                let value = |token: usize| layer[[head, token, frame]];
                let mean = (0..tokens).map(value).sum::<f32>() / tokens as f32;
                let variance = (0..tokens).map(|token| (value(token) - mean).powi(2)).sum::<f32>() / tokens as f32;
                let deviation = variance.sqrt() + 1e-6;
                for token in 0..tokens {
                    costs[token * frames + frame] -= (value(token) - mean) / deviation;
                }
            }
        }
    }
    costs
}

/// The cheapest monotone path through tokens and frames.
fn path(costs: &[f32], tokens: usize, frames: usize) -> Vec<(usize, usize)> {
    #[derive(Clone, Copy)]
    enum Step {
        Both,
        Token,
        Frame,
    }
    let width = frames + 1;
    let mut total = vec![f32::INFINITY; (tokens + 1) * width];
    let mut steps = vec![Step::Both; (tokens + 1) * width];
    total[0] = 0.0;
    for token in 1..=tokens {
        for frame in 1..=frames {
            let at = token * width + frame;
            let (mut step, mut before) = (Step::Both, total[at - width - 1]);
            if total[at - width] < before {
                (step, before) = (Step::Token, total[at - width]);
            }
            if total[at - 1] < before {
                (step, before) = (Step::Frame, total[at - 1]);
            }
            total[at] = before + costs[(token - 1) * frames + frame - 1];
            steps[at] = step;
        }
    }
    let mut spans = vec![(usize::MAX, 0); tokens];
    let (mut token, mut frame) = (tokens, frames);
    while token > 0 && frame > 0 {
        let span = &mut spans[token - 1];
        *span = (span.0.min(frame - 1), span.1.max(frame - 1));
        match steps[token * width + frame] {
            Step::Both => (token, frame) = (token - 1, frame - 1),
            Step::Token => token -= 1,
            Step::Frame => frame -= 1,
        }
    }
    // A token that the path does not visit has no frame of its own.
    spans.iter().map(|&(first, last)| if first == usize::MAX { (0, 0) } else { (first, last) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_follows_the_attention() {
        let (tokens, frames) = (3, 9);
        let looks = |token: usize, frame: usize| if frame / 3 == token { 1.0 } else { 0.0 };
        let layer = NdTensor::from_fn([2, tokens + 1, frames], |[_, token, frame]| looks(token, frame));
        assert_eq!(spans(&[layer], tokens), [(0, 2), (3, 5), (6, 8)]);
        assert_eq!(spans(&[], 3), []);
    }
}
