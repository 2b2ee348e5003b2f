//! The `Abi` port on alloy's dynamic ABI.

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{B256, keccak256};
use kernel::chain::{Abi, AbiValue, Data, DecodedCall, DecodedLog, EncodedLog, Hash, Revert, Signature, SignatureKind};
use kernel::{Fault, Result};
use serde_json::Value;

mod json;
mod parse;
mod revert;
mod shape;
#[cfg(test)]
mod tests;

use shape::{Item, Shape};

/// Contract encodings. Pure: no node, no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Encodings;

impl Encodings {
    /// The Keccak-256 hash of `text`'s signature's canonical form, without a parse: for constants of ours.
    pub fn topic(canonical: &str) -> Hash {
        Hash(keccak256(canonical.as_bytes()))
    }
}

impl Abi for Encodings {
    fn signature(&self, text: &str) -> Result<Signature> {
        Item::parse(text).map(Item::into_signature)
    }

    fn encode(&self, types: &[String], values: &[Value]) -> Result<Data> {
        Ok(json::encode_all(&unnamed(types)?, values, "values")?.abi_encode_params().into())
    }

    fn decode(&self, types: &[String], data: &[u8]) -> Result<Vec<AbiValue>> {
        decode_all(&unnamed(types)?, data)
    }

    fn encode_call(&self, function: &str, args: &[Value]) -> Result<Data> {
        let item = Item::parse_as(SignatureKind::Function, function)?;
        let mut data = item.selector().to_vec();
        data.extend(json::encode_all(&item.inputs, args, "args")?.abi_encode_params());
        Ok(data.into())
    }

    fn decode_call(&self, function: &str, data: &[u8]) -> Result<DecodedCall> {
        let item = Item::parse_as(SignatureKind::Function, function)?;
        let args = item.strip_selector(data)?;
        Ok(DecodedCall { args: decode_all(&item.inputs, args)?, function: item.canonical })
    }

    fn decode_output(&self, function: &str, data: &[u8]) -> Result<Vec<AbiValue>> {
        let item = Item::parse_as(SignatureKind::Function, function)?;
        decode_all(&item.outputs, data)
    }

    fn encode_log(&self, event: &str, values: &[Value]) -> Result<EncodedLog> {
        let item = Item::parse_as(SignatureKind::Event, event)?;
        let DynSolValue::Tuple(values) = json::encode_all(&item.inputs, values, "values")? else {
            return Err(Fault::internal("values did not encode to a tuple"));
        };
        let mut topics: Vec<Hash> = item.topic().into_iter().collect();
        let mut body = Vec::new();
        for (shape, value) in item.inputs.iter().zip(values) {
            if shape.indexed { topics.push(Hash(value.encode_topic())) } else { body.push(value) }
        }
        Ok(EncodedLog { topics, data: DynSolValue::Tuple(body).abi_encode_params().into() })
    }

    fn decode_log(&self, event: &str, topics: &[Hash], data: &[u8]) -> Result<DecodedLog> {
        let item = Item::parse_as(SignatureKind::Event, event)?;
        let args = decode_log(&item, topics, data)?;
        Ok(DecodedLog { event: item.canonical, args })
    }

    fn decode_revert(&self, data: &[u8], errors: &[String]) -> Result<Revert> {
        let errors =
            errors.iter().map(|text| Item::parse_as(SignatureKind::Error, text)).collect::<Result<Vec<_>>>()?;
        Ok(revert::decode(data, &errors))
    }
}

fn unnamed(types: &[String]) -> Result<Vec<Shape>> {
    types.iter().enumerate().map(|(i, text)| Shape::parse(text).map_err(|f| f.context(format!("types[{i}]")))).collect()
}

/// Decodes a parameter list.
fn decode_all(shapes: &[Shape], data: &[u8]) -> Result<Vec<AbiValue>> {
    if shapes.is_empty() {
        return Ok(Vec::new());
    }
    let list = DynSolType::Tuple(shapes.iter().map(|shape| shape.ty.clone()).collect());
    let expected = || shapes.iter().map(|shape| shape.canonical.as_str()).collect::<Vec<_>>().join(",");
    let wrong = |why: String| {
        Fault::invalid(format!("{} bytes do not decode as ({}): {why}", data.len(), expected()))
            .hint("check the types, and that the data is whole and without a selector")
    };
    match list.abi_decode_params(data) {
        Ok(DynSolValue::Tuple(values)) => Ok(named(shapes, &values)),
        Ok(_) => Err(Fault::internal("a parameter list did not decode to a tuple")),
        Err(error) => Err(wrong(error.to_string().to_lowercase())),
    }
}

fn named(shapes: &[Shape], values: &[DynSolValue]) -> Vec<AbiValue> {
    let one = |(shape, value): (&Shape, &DynSolValue)| AbiValue {
        name: shape.name.clone(),
        ty: shape.canonical.clone(),
        value: json::decode(&shape.fields, value),
    };
    shapes.iter().zip(values).map(one).collect()
}

/// Indexed values come from the topics, the others from the data; the answer is in the order declared.
fn decode_log(item: &Item, topics: &[Hash], data: &[u8]) -> Result<Vec<AbiValue>> {
    let mut topics = topics.iter().map(|topic| topic.0);
    if let Some(expected) = item.topic()
        && topics.next() != Some(expected.0)
    {
        return Err(Fault::invalid(format!("the log is not of event {}", item.canonical))
            .hint(format!("its first topic would be {expected}")));
    }
    let indexed: Vec<B256> = topics.collect();
    let declared = item.inputs.iter().filter(|shape| shape.indexed).count();
    if indexed.len() != declared {
        return Err(Fault::invalid(format!(
            "the log has {} indexed values, {} declares {declared}",
            indexed.len(),
            item.canonical
        ))
        .hint("mark the same parameters `indexed` as the contract does"));
    }
    let plain: Vec<Shape> = item.inputs.iter().filter(|shape| !shape.indexed).cloned().collect();
    let (mut plain, mut indexed) = (decode_all(&plain, data)?.into_iter(), indexed.into_iter());
    let mut args = Vec::with_capacity(item.inputs.len());
    for shape in &item.inputs {
        let value = if shape.indexed {
            indexed.next().map(|topic| AbiValue {
                name: shape.name.clone(),
                ty: shape.canonical.clone(),
                value: json::decode(&shape.fields, &decode_topic(&shape.ty, topic)),
            })
        } else {
            plain.next()
        };
        args.extend(value);
    }
    Ok(args)
}

/// An indexed value: of a type that fits a word it is the value, of any other its hash.
fn decode_topic(ty: &DynSolType, topic: B256) -> DynSolValue {
    let hash = DynSolValue::FixedBytes(topic, 32);
    match ty {
        DynSolType::Bytes
        | DynSolType::String
        | DynSolType::Array(_)
        | DynSolType::FixedArray(..)
        | DynSolType::Tuple(_) => hash,
        // A word that is no value of the type is shown as it stands.
        _ => ty.abi_decode(topic.as_slice()).unwrap_or(hash),
    }
}
