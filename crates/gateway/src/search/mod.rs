//! Finds tools by what they do: ranked text search over names, descriptions, parameter names and their descriptions.
//!
//! BM25 over weighted fields (a word in a tool's name says more than one in a parameter's description). A word of the query also finds
//! words it begins, words that mean the same in this trade, and, when it finds nothing at all, words it may be a slip of; each for less.
//! The same query over the same tools always gives the same order.

mod synonyms;
mod words;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use words::words;

/// How fast repetition stops mattering.
const K1: f64 = 1.2;
/// How much long texts are discounted.
const B: f64 = 0.6;
/// What a word that is only begun by the query's counts for.
const PREFIX: f64 = 0.7;
/// What a word of like meaning counts for.
const SYNONYM: f64 = 0.6;
/// What a word that may be meant counts for.
const SLIP: f64 = 0.5;
/// Shortest word that may find others by being their beginning.
const PREFIX_MIN: usize = 3;
/// Shortest word that may be a slip of another.
const SLIP_MIN: usize = 4;
/// Added for a query that is the tool's name.
const NAMED: f64 = 100.0;

/// What the parts of a tool's text weigh.
const TOOL_NAME: f64 = 4.0;
const SERVER_NAME: f64 = 1.5;
const DESCRIPTION: f64 = 2.0;
const PARAMETER: f64 = 1.0;
const PARAMETER_DESCRIPTION: f64 = 0.4;

/// The index over a table's tools, by their places in it.
pub struct Index {
    /// For each word: the tools that have it, with its weight there, by place.
    postings: BTreeMap<String, Vec<(usize, f64)>>,
    /// The words of each tool's own name, and of its whole name.
    named: Vec<[String; 2]>,
    /// Each tool's weighted count of words, over the mean.
    lengths: Vec<f64>,
}

/// A tool found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its place in the table.
    pub place: usize,
    /// How well it fits; only comparable within one search.
    pub score: f64,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(rename = "inputSchema", default)]
    input: Value,
}

impl Index {
    /// Indexes tools given by their whole names and their entries in a list.
    pub fn of<'a>(tools: impl Iterator<Item = (&'a str, &'a RawValue)>) -> Self {
        let mut index = Self { postings: BTreeMap::new(), named: Vec::new(), lengths: Vec::new() };
        for (place, (name, listing)) in tools.enumerate() {
            let weights = weigh(name, listing);
            index.lengths.push(weights.values().sum());
            for (word, weight) in weights {
                index.postings.entry(word).or_default().push((place, weight));
            }
            let own = crate::names::split(name).map_or(name, |(_, own)| own);
            index.named.push([words(own).join(" "), words(name).join(" ")]);
        }
        let mean = index.lengths.iter().sum::<f64>() / index.lengths.len().max(1) as f64;
        for length in &mut index.lengths {
            *length /= mean.max(f64::MIN_POSITIVE);
        }
        index
    }

    /// The tools that fit `query`, the best first, of those that `allowed` admits. Ties keep the table's order.
    pub fn search(&self, query: &str, allowed: impl Fn(usize) -> bool) -> Vec<Hit> {
        let mut asked = words(query);
        let whole = asked.join(" ");
        asked.sort();
        asked.dedup();
        let mut scores: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        let mut weight_asked = 0.0;
        for word in &asked {
            let found = self.find(word);
            let worth = found.values().copied().fold(0.0, f64::max);
            // A word that no tool has cannot tell tools apart.
            weight_asked += worth;
            for (place, score) in found {
                let sum = scores.entry(place).or_default();
                sum.0 += score;
                sum.1 += worth;
            }
        }
        let mut hits: Vec<Hit> = scores
            .into_iter()
            .filter(|(place, _)| allowed(*place))
            .map(|(place, (score, weight_met))| {
                // What meets all of the query goes before what meets one word of it very well.
                let score = score * (weight_met / weight_asked).powi(2);
                let named = if self.named[place].contains(&whole) { NAMED } else { 0.0 };
                Hit { place, score: score + named }
            })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        hits
    }

    /// The tools that have `word` or what stands for it, with what it counts for in each.
    fn find(&self, word: &str) -> BTreeMap<usize, f64> {
        let mut best = BTreeMap::new();
        self.add(&mut best, word, 1.0);
        if word.len() >= PREFIX_MIN {
            let longer = self.postings.range(word.to_owned()..).take_while(|(longer, _)| longer.starts_with(word));
            for (longer, _) in longer {
                // The more is missing, the less it is the word that was meant.
                let share = word.chars().count() as f64 / longer.chars().count() as f64;
                self.add(&mut best, longer, PREFIX * share.sqrt());
            }
        }
        for same in synonyms::of(word) {
            self.add(&mut best, same, SYNONYM);
        }
        if best.is_empty() && word.len() >= SLIP_MIN {
            let known: Vec<&str> = self.postings.keys().map(String::as_str).collect();
            if let Some(meant) = kernel::limits::nearest(word, &known) {
                self.add(&mut best, meant, SLIP);
            }
        }
        best
    }

    /// Scores one indexed word for every tool that has it; the best reading of a query's word counts.
    fn add(&self, best: &mut BTreeMap<usize, f64>, word: &str, share: f64) {
        let Some(postings) = self.postings.get(word) else { return };
        let (all, have) = (self.lengths.len() as f64, postings.len() as f64);
        let rarity = (1.0 + (all - have + 0.5) / (have + 0.5)).ln();
        for (place, weight) in postings {
            let norm = K1 * (1.0 - B + B * self.lengths[*place]);
            let score = share * rarity * weight * (K1 + 1.0) / (weight + norm);
            let kept = best.entry(*place).or_insert(0.0);
            *kept = kept.max(score);
        }
    }
}

/// The words of a tool, each with the weight of all places it stands in.
fn weigh(name: &str, listing: &RawValue) -> BTreeMap<String, f64> {
    let mut weights = BTreeMap::new();
    let mut add = |text: &str, weight: f64| {
        for word in words(text) {
            *weights.entry(word).or_insert(0.0) += weight;
        }
    };
    match crate::names::split(name) {
        Some((server, tool)) => {
            add(server, SERVER_NAME);
            add(tool, TOOL_NAME);
        }
        None => add(name, TOOL_NAME),
    }
    // An upstream's entry may hold anything; what cannot be read is found by its name alone.
    if let Ok(listed) = serde_json::from_str::<Listed>(listing.get()) {
        add(listed.title.as_deref().unwrap_or_default(), DESCRIPTION);
        add(listed.description.as_deref().unwrap_or_default(), DESCRIPTION);
        parameters(&listed.input, 0, &mut add);
    }
    weights
}

/// Deepest level of parameters that is indexed.
const SCHEMA_DEPTH: usize = 4;

fn parameters(schema: &Value, depth: usize, add: &mut impl FnMut(&str, f64)) {
    if depth >= SCHEMA_DEPTH {
        return;
    }
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        add(name, PARAMETER);
        add(inner.get("description").and_then(Value::as_str).unwrap_or_default(), PARAMETER_DESCRIPTION);
        parameters(inner, depth + 1, add);
    }
    if let Some(items) = schema.get("items") {
        parameters(items, depth + 1, add);
    }
}

#[cfg(test)]
mod tests;
