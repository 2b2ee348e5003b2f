//! Finds tools by what they do: ranked text search over names, descriptions, parameter names and their descriptions.
//!
//! BM25 over weighted fields (a word in a tool's name says more than one in a parameter's description). A word of the query also finds
//! words it begins, words that mean the same in this trade, and, when it finds nothing at all, words it may be a slip of; each for less.
//! The same query over the same tools always gives the same order.

mod synonyms;
mod words;

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use words::words;

/// How fast repetition stops mattering.
const K1: f64 = 1.2;
/// How much long texts are discounted.
const B: f64 = 0.5;
/// What a word in a tool's name counts for, beside one in its text.
const NAME: f64 = 2.5;
/// What a word in its server's name counts for, beside one in its own.
const SERVER: f64 = 0.8;
/// What a word that is only begun by the query's counts for.
const PREFIX: f64 = 0.7;
/// What a word of like meaning counts for.
const SYNONYM: f64 = 0.7;
/// What a word that may be meant counts for.
const SLIP: f64 = 0.5;
/// Words of a query that are looked at.
const ASKED_MAX: usize = 32;
/// Words of one text of a tool that are indexed: an upstream gains nothing by writing a book.
const WORDS_MAX: usize = 400;
/// Shortest word that may find others by being their beginning.
const PREFIX_MIN: usize = 3;
/// Shortest word that may be a slip of another.
const SLIP_MIN: usize = 5;
/// Added for a query that is the tool's name.
const NAMED: f64 = 100.0;

/// What the parts of a tool's text weigh.
const TOOL_NAME: f64 = 2.0;
const SERVER_NAME: f64 = 1.5;
const DESCRIPTION: f64 = 2.0;
const PARAMETER: f64 = 1.0;
const PARAMETER_VALUE: f64 = 0.6;
const PARAMETER_DESCRIPTION: f64 = 0.4;

/// The index over a table's tools, by their places in it.
pub struct Index {
    /// For each word: the tools that have it, with its weight there, by place.
    postings: BTreeMap<String, Vec<(usize, f64)>>,
    /// What is kept of each tool.
    tools: Vec<Kept>,
}

/// What is kept of a tool.
struct Kept {
    /// The words of its own name.
    name: Vec<String>,
    /// The words of its server's name.
    server: Vec<String>,
    /// The same and those of its whole name, as one text each: what a query that names it is compared with.
    named: [String; 2],
    /// Its weighted count of words, over the mean.
    length: f64,
}

/// A tool found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its place in the table.
    pub place: usize,
    /// How well it fits; only comparable within one search.
    pub score: f64,
}

/// How well a tool meets a query, while it is being found out.
#[derive(Default)]
struct Met {
    /// By its text.
    text: f64,
    /// By its name.
    name: f64,
    /// Rarity of the name's words that the query meets.
    name_met: f64,
    /// Worth of the query's words that it meets at all.
    asked_met: f64,
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
        let mut index = Self { postings: BTreeMap::new(), tools: Vec::new() };
        for (place, (name, listing)) in tools.enumerate() {
            let weights = weigh(name, listing);
            let (server, own) = crate::names::split(name).unwrap_or(("", name));
            let (server, own) = (words(server), words(own));
            let named = [own.join(" "), words(name).join(" ")];
            index.tools.push(Kept { name: own, server, named, length: weights.values().sum() });
            for (word, weight) in weights {
                index.postings.entry(word).or_default().push((place, weight));
            }
        }
        let mean = index.tools.iter().map(|tool| tool.length).sum::<f64>() / index.tools.len().max(1) as f64;
        for tool in &mut index.tools {
            tool.length /= mean.max(f64::MIN_POSITIVE);
        }
        index
    }

    /// The tools that fit `query`, the best first, of those that `allowed` admits. Ties keep the table's order.
    pub fn search(&self, query: &str, allowed: impl Fn(usize) -> bool) -> Vec<Hit> {
        let mut asked = words(query);
        asked.truncate(ASKED_MAX);
        let whole = asked.join(" ");
        asked.sort();
        asked.dedup();
        let mut all: BTreeMap<usize, Met> = BTreeMap::new();
        let mut worth_asked = 0.0;
        for word in &asked {
            let readings = self.readings(word);
            let worth = readings.iter().map(|(word, share)| share * self.rarity(word)).fold(0.0, f64::max);
            // A word that no tool has cannot tell tools apart.
            worth_asked += worth;
            for (place, (text, name, rarity)) in self.meet(&readings) {
                let met = all.entry(place).or_default();
                met.text += text;
                met.name += name;
                met.name_met += rarity;
                met.asked_met += worth;
            }
        }
        let mut hits: Vec<Hit> = all
            .into_iter()
            .filter(|(place, _)| allowed(*place))
            .map(|(place, met)| Hit { place, score: self.score(place, &met, worth_asked, &whole) })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        hits
    }

    fn score(&self, place: usize, met: &Met, worth_asked: f64, query: &str) -> f64 {
        let tool = &self.tools[place];
        // A name that the query covers whole says more than one of many words.
        let name: f64 = tool.name.iter().map(|word| self.rarity(word)).sum();
        let covered = if name > 0.0 { (met.name_met / name).min(1.0) } else { 0.0 };
        // What meets all of the query goes before what meets one word of it very well.
        let met_share = met.asked_met / worth_asked;
        let named = if tool.named.iter().any(|name| name == query) { NAMED } else { 0.0 };
        (met.text + NAME * met.name * (0.5 + 0.5 * covered)) * met_share.powi(2) + named
    }

    /// The indexed words that a word of a query may stand for, and what each counts for.
    fn readings<'a>(&'a self, word: &'a str) -> Vec<(&'a str, f64)> {
        let mut readings: Vec<(&str, f64)> = Vec::new();
        if self.postings.contains_key(word) {
            readings.push((word, 1.0));
        }
        if word.len() >= PREFIX_MIN {
            let longer = self.postings.range::<str, _>((Bound::Excluded(word), Bound::Unbounded));
            for (longer, _) in longer.take_while(|(longer, _)| longer.starts_with(word)) {
                // The more is missing, the less it is the word that was meant.
                let share = word.chars().count() as f64 / longer.chars().count() as f64;
                readings.push((longer, PREFIX * share.sqrt()));
            }
        }
        readings.extend(synonyms::of(word).iter().map(|same| (same.as_str(), SYNONYM)));
        readings.retain(|(word, _)| self.postings.contains_key(*word));
        if readings.is_empty() && word.len() >= SLIP_MIN {
            readings.extend(self.slip(word).map(|meant| (meant, SLIP)));
        }
        readings
    }

    /// The indexed word that was probably meant: one slip away, two in a long word; the first letter is seldom wrong.
    fn slip(&self, word: &str) -> Option<&str> {
        let far = if word.len() >= 8 { 2 } else { 1 };
        let near = self.postings.keys().filter(|known| known.chars().next() == word.chars().next());
        let near = near.map(|known| (kernel::limits::distance(word, known), known.as_str()));
        near.filter(|(distance, _)| *distance <= far).min().map(|(_, known)| known)
    }

    /// For each tool that has one of `readings`: its score by its text, by its name, and the rarity of the name's word. The best reading
    /// counts, each for itself.
    fn meet(&self, readings: &[(&str, f64)]) -> BTreeMap<usize, (f64, f64, f64)> {
        let mut best: BTreeMap<usize, (f64, f64, f64)> = BTreeMap::new();
        for (word, share) in readings {
            let rarity = self.rarity(word);
            for (place, weight) in self.postings.get(*word).into_iter().flatten() {
                let tool = &self.tools[*place];
                let norm = K1 * (1.0 - B + B * tool.length);
                let text = share * rarity * weight * (K1 + 1.0) / (weight + norm);
                let has = |name: &[String]| name.iter().any(|own| own == word);
                let worth = share * rarity;
                let kept = best.entry(*place).or_default();
                kept.0 = kept.0.max(text);
                if has(&tool.name) {
                    (kept.1, kept.2) = (kept.1.max(worth), kept.2.max(worth));
                } else if has(&tool.server) {
                    kept.1 = kept.1.max(SERVER * worth);
                }
            }
        }
        best
    }

    /// How much an indexed word says: the fewer tools have it, the more.
    fn rarity(&self, word: &str) -> f64 {
        let (all, have) = (self.tools.len() as f64, self.postings.get(word).map_or(0, Vec::len) as f64);
        (1.0 + (all - have + 0.5) / (have + 0.5)).ln()
    }
}

/// The words of a tool, each with the weight of all places it stands in.
fn weigh(name: &str, listing: &RawValue) -> BTreeMap<String, f64> {
    let mut weights = BTreeMap::new();
    let mut add = |text: &str, weight: f64| {
        for word in words(text).into_iter().take(WORDS_MAX) {
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
        Parameters { root: &listed.input, left: SCHEMA_PLACES, add }.of_object(&listed.input, 0);
    }
    weights
}

/// Deepest level of parameters that is indexed.
const SCHEMA_DEPTH: usize = 6;
/// Places of one schema that are looked at: one that points back at itself many times over must not cost more than others.
const SCHEMA_PLACES: usize = 1_000;

/// Walks the parameters of a tool.
struct Parameters<'a, F> {
    root: &'a Value,
    left: usize,
    add: F,
}

impl<F: FnMut(&str, f64)> Parameters<'_, F> {
    fn of_object(&mut self, schema: &Value, depth: usize) {
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            (self.add)(name, PARAMETER);
            self.described(inner, depth + 1);
        }
    }

    /// What one parameter is and may be.
    fn described(&mut self, schema: &Value, depth: usize) {
        if depth >= SCHEMA_DEPTH || self.left == 0 {
            return;
        }
        self.left -= 1;
        (self.add)(schema.get("description").and_then(Value::as_str).unwrap_or_default(), PARAMETER_DESCRIPTION);
        let chosen = schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const"));
        chosen.filter_map(Value::as_str).for_each(|value| (self.add)(value, PARAMETER_VALUE));
        // A pointer into another document leads nowhere from here, and is not followed.
        let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        let inner = pointer.and_then(|pointer| self.root.pointer(pointer)).into_iter().chain(schema.get("items"));
        let choices = ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
        for inner in inner.chain(choices) {
            self.described(inner, depth + 1);
        }
        self.of_object(schema, depth);
    }
}

#[cfg(test)]
mod quality;
#[cfg(test)]
mod tests;
