//! Vectors of texts: the words of a text, hashed into a few dimensions. Texts with the same words are near to one another; meanings
//! are not known.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::upstream::scripted::MODEL;

const DIMENSIONS: usize = 64;
/// Maximum number of texts in a request.
const TEXTS: usize = 2048;

/// The response to a request for embeddings.
pub fn embeddings(request: &Value) -> Result<Value, &'static str> {
    const INPUT: &str = "`input` must be a text or a list of 1 to 2048 texts";
    let texts: Vec<&str> = match &request["input"] {
        Value::String(text) => vec![text],
        Value::Array(texts) if (1..=TEXTS).contains(&texts.len()) => {
            texts.iter().map(Value::as_str).collect::<Option<_>>().ok_or(INPUT)?
        }
        _ => return Err(INPUT),
    };
    let in_base64 = request["encoding_format"] == json!("base64");
    let data = texts.iter().enumerate().map(|(index, text)| {
        let vector = vector(text);
        let embedding = match in_base64 {
            true => json!(BASE64_STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())),
            false => json!(vector.as_slice()),
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let data: Vec<Value> = data.collect();
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Ok(json!({ "object": "list", "data": data, "model": MODEL, "usage": usage }))
}

/// A vector of length 1.
fn vector(text: &str) -> [f32; DIMENSIONS] {
    let mut vector = [0_f32; DIMENSIONS];
    vector[0] = f32::EPSILON; // a text without words has a direction, too
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let hash = Sha256::digest(word.to_lowercase());
        let sign = if hash[1] & 1 == 0 { 1.0 } else { -1.0 };
        vector[usize::from(hash[0]) % DIMENSIONS] += sign;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.map(|x| x / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_the_same_words_are_near() {
        let near = |a: &str, b: &str| vector(a).iter().zip(vector(b)).map(|(a, b)| a * b).sum::<f32>();
        assert!((near("the red car", "Car, the RED!") - 1.0).abs() < 1e-5);
        assert!(near("the red car", "the red house") > near("the red car", "an old boat"));
        assert!((near("", "") - 1.0).abs() < 1e-5);
    }

    #[test]
    fn both_encodings_hold_the_same_numbers() {
        let floats = embeddings(&json!({ "input": "a b" })).expect("valid");
        let coded = embeddings(&json!({ "input": ["a b"], "encoding_format": "base64" })).expect("valid");
        let bytes = BASE64_STANDARD.decode(coded["data"][0]["embedding"].as_str().expect("a text")).expect("base64");
        assert_eq!(bytes.len(), DIMENSIONS * 4);
        let first = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        assert_eq!(json!(first), floats["data"][0]["embedding"][0]);
        assert_eq!(floats["usage"], json!({ "prompt_tokens": 2, "total_tokens": 2 }));
        assert!(embeddings(&json!({ "input": [1] })).is_err());
    }
}
