//! From audio to tokens: the encoder once, then the decoder.

use rten::{Value, ValueOrView};
use rten_tensor::{NdTensor, Tensor, prelude::*};

use super::{
    EngineError,
    model::{LAYERS, Model, options},
    times,
};

const START: i32 = 1;
const END: i32 = 2;

/// The tokens of some audio.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// Without the start and the end.
    pub(super) tokens: Vec<i32>,
    /// Of each token.
    pub(super) probabilities: Vec<f32>,
    /// That nothing follows the tokens.
    pub(super) end: f32,
    /// The frames of each token, first and last; empty unless times were asked for.
    pub(super) spans: Vec<(usize, usize)>,
    /// The frames of the audio.
    pub(super) frames: usize,
}

impl Decoded {
    /// The mean natural logarithm of the probabilities of the tokens and of the end, so that words that are left out count, too.
    pub(super) fn certainty(&self) -> f32 {
        let all = self.probabilities.iter().chain([&self.end]);
        let sum: f32 = all.map(|probability| probability.max(f32::MIN_POSITIVE).ln()).sum();
        sum / (self.probabilities.len() + 1) as f32
    }
}

/// What audio is decoded for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// The text so far, unless that is not needed any more.
    Partial { superseded: &'a dyn Fn() -> bool },
    /// The text with its times.
    Final,
}

impl Purpose<'_> {
    fn is_superseded(self) -> bool {
        matches!(self, Purpose::Partial { superseded } if superseded())
    }
}

/// Keys and values of one layer: the decoder's, then the encoder's.
type Layer = [Tensor<f32>; 4];

/// Decodes `audio`. The tokens of `guess` are verified in one pass, of which the first `forced` are kept without a question. At
/// most `most` tokens. `None`: superseded.
pub(super) fn decode(
    model: &Model,
    audio: Vec<f32>,
    guess: &[i32],
    forced: usize,
    most: usize,
    purpose: Purpose<'_>,
) -> Result<Option<Decoded>, EngineError> {
    let samples = audio.len();
    let mask = Tensor::<i32>::from_data(&[1, samples], vec![1; samples]);
    let audio = Tensor::from_data(&[1, samples], audio);
    let encoder = &model.encoder;
    let inputs = vec![(encoder.audio, audio.into()), (encoder.mask, mask.view().into())];
    let [states] = run(encoder.graph.run_n(inputs, [encoder.states], options()))?;
    let states = tensor(states)?;
    if purpose.is_superseded() {
        return Ok(None);
    }
    let run = Run { model, states: &states, mask: &mask };

    let most = most.max(forced);
    let mut input = vec![START];
    input.extend(guess.iter().copied().take(most));
    let forced = forced.min(input.len() - 1);
    let (logits, mut cache) = run.first(&input)?;
    let vocabulary = model.tokenizer.len();
    let row = |n: usize| &logits[n * vocabulary..(n + 1) * vocabulary];

    let mut decoded = Decoded { frames: states.size(1), ..Decoded::default() };
    let mut next = best(row(0));
    while decoded.tokens.len() + 1 < input.len() {
        let n = decoded.tokens.len();
        let guessed = input[n + 1];
        if n >= forced && guessed != next.0 {
            break;
        }
        let probability = if guessed == next.0 { next.1 } else { probability(row(n), guessed) };
        decoded.tokens.push(guessed);
        decoded.probabilities.push(probability);
        next = best(row(n + 1));
    }
    for layer in &mut cache {
        for part in &mut layer[..2] {
            let kept: Tensor<f32> = part.slice((.., .., ..decoded.tokens.len() + 1)).to_tensor();
            *part = kept;
        }
    }
    while next.0 != END && decoded.tokens.len() < most {
        decoded.tokens.push(next.0);
        decoded.probabilities.push(next.1);
        if decoded.tokens.len() == most {
            break;
        }
        if purpose.is_superseded() {
            return Ok(None);
        }
        next = run.next(next.0, &mut cache)?;
    }
    if next.0 == END {
        decoded.end = next.1;
    }
    if matches!(purpose, Purpose::Final) && !decoded.tokens.is_empty() {
        input.truncate(1);
        input.extend(&decoded.tokens);
        decoded.spans = times::spans(&run.attention(&input)?, decoded.tokens.len());
    }
    Ok(Some(decoded))
}

/// One audio at the decoder.
struct Run<'a> {
    model: &'a Model,
    states: &'a Tensor<f32>,
    mask: &'a Tensor<i32>,
}

impl Run<'_> {
    /// The logits behind each token, and the cache.
    fn first(&self, tokens: &[i32]) -> Result<(Vec<f32>, Vec<Layer>), EngineError> {
        let first = &self.model.first;
        let mut outputs = vec![first.logits];
        outputs.extend(first.cache.iter().flatten());
        let mut values = run(first.graph.run(self.inputs(tokens), &outputs, options()))?.into_iter();
        let logits = tensor(values.next().ok_or_else(missing)?)?.into_data();
        let mut cache = Vec::with_capacity(LAYERS);
        for _ in 0..LAYERS {
            let mut part = || values.next().ok_or_else(missing).and_then(tensor);
            cache.push([part()?, part()?, part()?, part()?]);
        }
        Ok((logits, cache))
    }

    /// Where each token has looked in the audio, of every upper layer: `[heads, tokens, frames]`.
    fn attention(&self, tokens: &[i32]) -> Result<Vec<NdTensor<f32, 3>>, EngineError> {
        let first = &self.model.first;
        let values = run(first.graph.run(self.inputs(tokens), &first.attention, options()))?;
        let layer = |value: Value| {
            let all: NdTensor<f32, 4> = value.try_into().map_err(|_| missing())?;
            Ok(all.slice(0).to_tensor())
        };
        values.into_iter().map(layer).collect()
    }

    fn inputs(&self, tokens: &[i32]) -> Vec<(rten::NodeId, ValueOrView<'_>)> {
        let first = &self.model.first;
        vec![
            (first.tokens, Tensor::from_data(&[1, tokens.len()], tokens.to_vec()).into()),
            (first.states, self.states.view().into()),
            (first.mask, self.mask.view().into()),
        ]
    }

    /// The best token behind `token`, which the cache then includes.
    fn next(&self, token: i32, cache: &mut [Layer]) -> Result<(i32, f32), EngineError> {
        let next = &self.model.next;
        let mut inputs: Vec<(rten::NodeId, ValueOrView<'_>)> =
            vec![(next.tokens, Tensor::from_data(&[1, 1], vec![token]).into())];
        inputs.extend(next.states.map(|node| (node, self.states.view().into())));
        inputs.extend(next.mask.map(|node| (node, self.mask.view().into())));
        for (nodes, layer) in next.past.iter().zip(cache.iter()) {
            inputs.extend(nodes.iter().zip(layer).map(|(node, part)| (*node, part.view().into())));
        }
        let mut outputs = vec![next.logits];
        outputs.extend(next.cache.iter().flatten());
        let mut values = run(next.graph.run(inputs, &outputs, options()))?.into_iter();
        let logits = tensor(values.next().ok_or_else(missing)?)?.into_data();
        for layer in cache {
            for part in &mut layer[..2] {
                *part = tensor(values.next().ok_or_else(missing)?)?;
            }
        }
        Ok(best(&logits))
    }
}

/// The token with the highest logit, and its probability.
fn best(logits: &[f32]) -> (i32, f32) {
    let (mut token, mut highest) = (END as usize, f32::NEG_INFINITY);
    for (n, logit) in logits.iter().enumerate() {
        if *logit > highest {
            (token, highest) = (n, *logit);
        }
    }
    (token as i32, share(logits, highest))
}

fn probability(logits: &[f32], token: i32) -> f32 {
    logits.get(token as usize).map_or(0.0, |logit| share(logits, *logit))
}

/// The softmax of one logit.
fn share(logits: &[f32], of: f32) -> f32 {
    1.0 / logits.iter().map(|logit| (logit - of).exp()).sum::<f32>()
}

fn run<T>(result: Result<T, rten::RunError>) -> Result<T, EngineError> {
    result.map_err(|error| EngineError(error.to_string()))
}

fn tensor(value: Value) -> Result<Tensor<f32>, EngineError> {
    value.try_into().map_err(|_| missing())
}

fn missing() -> EngineError {
    EngineError("the model returned something else than expected".to_owned())
}
