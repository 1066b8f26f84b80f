//! The files of the model, and their inputs and outputs by name.

use std::path::Path;

use rten::{NodeId, RunOptions, ThreadPool};

use super::{EngineError, tokenizer::Tokenizer};

pub(super) const LAYERS: usize = 6;

pub(super) struct Model {
    pub(super) encoder: Encoder,
    pub(super) first: First,
    pub(super) next: Next,
    pub(super) tokenizer: Tokenizer,
}

pub(super) struct Encoder {
    pub(super) graph: rten::Model,
    pub(super) audio: NodeId,
    pub(super) mask: NodeId,
    pub(super) states: NodeId,
}

/// The decoder for several tokens at once, without a cache.
pub(super) struct First {
    pub(super) graph: rten::Model,
    pub(super) tokens: NodeId,
    pub(super) states: NodeId,
    pub(super) mask: NodeId,
    pub(super) logits: NodeId,
    /// The new cache.
    pub(super) cache: Vec<[NodeId; 4]>,
    /// Attention to the audio, of the upper layers.
    pub(super) attention: Vec<NodeId>,
}

/// The decoder for one more token.
pub(super) struct Next {
    pub(super) graph: rten::Model,
    pub(super) tokens: NodeId,
    /// Inputs that the exported graph may have without using them.
    pub(super) states: Option<NodeId>,
    pub(super) mask: Option<NodeId>,
    pub(super) logits: NodeId,
    /// Of each layer the decoder's keys and values and the encoder's.
    pub(super) past: Vec<[NodeId; 4]>,
    /// Of each layer the decoder's keys and values; the encoder's do not change.
    pub(super) cache: Vec<[NodeId; 2]>,
}

impl Model {
    pub(super) fn load(folder: &Path) -> Result<Self, EngineError> {
        let graph = |name: &str| {
            rten::Model::load_file(folder.join(name)).map_err(|error| EngineError(format!("{name}: {error}")))
        };
        let bytes = std::fs::read(folder.join("tokenizer.bin"));
        let tokenizer = Tokenizer::parse(&bytes.map_err(|error| EngineError(format!("tokenizer.bin: {error}")))?)?;
        Ok(Self {
            encoder: Encoder::new(graph("encoder.onnx")?)?,
            first: First::new(graph("decoder_first.onnx")?)?,
            next: Next::new(graph("decoder_next.onnx")?)?,
            tokenizer,
        })
    }
}

impl Encoder {
    fn new(graph: rten::Model) -> Result<Self, EngineError> {
        Ok(Self {
            audio: node(&graph, "input_values")?,
            mask: node(&graph, "attention_mask")?,
            states: node(&graph, "last_hidden_state")?,
            graph,
        })
    }
}

impl First {
    fn new(graph: rten::Model) -> Result<Self, EngineError> {
        let cache = |layer: usize| kinds().map(|kind| node(&graph, &format!("present.{layer}.{kind}")));
        let attention = |layer| node(&graph, &format!("/model/decoder/layers.{layer}/encoder_attn/Softmax_output_0"));
        Ok(Self {
            tokens: node(&graph, "input_ids")?,
            states: node(&graph, "encoder_hidden_states")?,
            mask: node(&graph, "encoder_attention_mask")?,
            logits: node(&graph, "logits")?,
            cache: (0..LAYERS).map(|layer| all(cache(layer))).collect::<Result<_, _>>()?,
            attention: (LAYERS / 2..LAYERS).map(attention).collect::<Result<_, _>>()?,
            graph,
        })
    }
}

impl Next {
    fn new(graph: rten::Model) -> Result<Self, EngineError> {
        let past = |layer: usize| kinds().map(|kind| node(&graph, &format!("past_key_values.{layer}.{kind}")));
        let cache = |layer: usize| {
            ["decoder.key", "decoder.value"].map(|kind| node(&graph, &format!("present.{layer}.{kind}")))
        };
        Ok(Self {
            tokens: node(&graph, "input_ids")?,
            states: graph.find_node("encoder_hidden_states"),
            mask: graph.find_node("encoder_attention_mask"),
            logits: node(&graph, "logits")?,
            past: (0..LAYERS).map(|layer| all(past(layer))).collect::<Result<_, _>>()?,
            cache: (0..LAYERS).map(|layer| all(cache(layer))).collect::<Result<_, _>>()?,
            graph,
        })
    }
}

const fn kinds() -> [&'static str; 4] {
    ["decoder.key", "decoder.value", "encoder.key", "encoder.value"]
}

fn all<const N: usize>(nodes: [Result<NodeId, EngineError>; N]) -> Result<[NodeId; N], EngineError> {
    let nodes: Vec<NodeId> = nodes.into_iter().collect::<Result<_, _>>()?;
    nodes.try_into().map_err(|_| EngineError("the model has other layers".to_owned()))
}

fn node(graph: &rten::Model, name: &str) -> Result<NodeId, EngineError> {
    graph
        .find_node(name)
        .ok_or_else(|| EngineError(format!("the model has no {name}; run scripts/captions-model again")))
}

thread_local! {
    /// One thread for each worker: two would use twice the processor time and be slower.
    static POOL: std::sync::Arc<ThreadPool> = std::sync::Arc::new(ThreadPool::with_num_threads(1));
}

/// Runs on the calling worker's own thread pool.
pub(super) fn options() -> Option<RunOptions> {
    let mut options = RunOptions::default();
    options.thread_pool = Some(POOL.with(Clone::clone));
    Some(options)
}
