//! The market: what would gain now, what it costs on the way there, what became of the rest, and one cycle taken apart and simulated.

use std::collections::{BTreeMap, HashMap};

use kernel::Fault;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::dashboard::chart::{self, number};
use crate::dashboard::look::Look;
use crate::dashboard::page::Page;
use crate::dashboard::query::{Query, encoded};
use crate::dashboard::words::{self, facts, items, shown, state, table, text};

/// Where it is.
pub const PATH: &str = "/ui/market";
const MARKET: &str = "market-analysis";
const EXECUTION: &str = "execution";
/// Opportunities that are asked for: all that a scan evaluates.
const SCANNED: usize = 100;
/// Opportunities that are shown.
const SHOWN: usize = 25;
/// Sightings that ages are told from.
const SEEN: usize = 100;
/// Over what the funnel's last steps are counted.
const LATELY: &str = "1h";
/// How far back submissions are looked at one by one: every two seconds, while the page is open.
const RECENT: &str = "10m";

/// The page. `?funding=` narrows to a funding asset, `?all=1` shows what costs more than it gains, too.
pub async fn page(look: &Look) -> Page {
    let query = look.query();
    let (funding, all) = (query.get("funding"), query.get("all") == Some("1"));
    let submits =
        format!("sum by (outcome) (increase(mcp_commands_total{{server=\"execution\",tool=\"submit\"}}[{LATELY}]))");
    let (scan, seen, history, submits) = tokio::join!(
        look.read(MARKET, "scan_opportunities", json!({ "funding": funding, "min_net": "0", "limit": SCANNED })),
        look.read(MARKET, "opportunity_history", json!({ "limit": SEEN })),
        look.read(EXECUTION, "history", json!({ "since": format!("-{RECENT}"), "limit": 100 })),
        look.read("monitoring", "query_metrics", json!({ "query": submits })),
    );
    let ages = ages(seen.as_ref().unwrap_or(&Value::Null));
    Page::new("Market", PATH)
        .still("filter", filter(&query))
        .live("funnel", html! { h2 { "From a difference in price to a trade" } (shown(&scan, |scan| funnel(scan, &submits, &history))) })
        .live("opportunities", html! { h2 { "Opportunities" } (shown(&scan, |scan| opportunities(scan, &ages, all))) })
        .live("rejected", html! { h2 { "Why submissions of the last ten minutes came to nothing" } (shown(&history, refusals)) })
}

fn filter(query: &Query) -> Markup {
    let all = query.get("all") == Some("1");
    html! {
        form.filter action=(PATH) {
            label { "Funding asset" input type="text" name="funding" value=(query.get("funding").unwrap_or_default()) maxlength="64" placeholder="WETH, or an address" autocomplete="off"; }
            label.tick { input type="checkbox" name="all" value="1" checked[all]; " with what costs more than it gains" }
            button { "Filter" }
            a href=(PATH) { "All assets" }
        }
    }
}

/// Since when each cycle is there without a gap, by its id: the history has the newest block first.
fn ages(history: &Value) -> HashMap<String, i64> {
    let mut runs: HashMap<String, (u64, i64)> = HashMap::new();
    for seen in items(&history["seen"]) {
        let block = seen["block"].as_u64().or_else(|| seen["block_number"].as_u64()).unwrap_or(0);
        let at_ms = seen["seen_ms"].as_i64().unwrap_or(0);
        let run = runs.entry(text(&seen["opportunity"]["id"])).or_insert((block, at_ms));
        // A block that was missed ends the run.
        if run.0.saturating_sub(block) <= 1 {
            *run = (block, at_ms);
        }
    }
    runs.into_iter().map(|(id, (_, since_ms))| (id, since_ms)).collect()
}

fn amount(sum: &Value) -> f64 {
    number(&sum["amount"])
}

/// What keeps a cycle from gaining: the first cost that what the pools give does not cover. For the drawing: sums for people are the fleet's.
fn eaten_by(one: &Value) -> &'static str {
    let mut left = amount(&one["amount_out"]) - amount(&one["amount_in"]);
    for (cost, name) in [("flash_fee", "the lender's fee"), ("gas_cost", "gas"), ("tip", "the tip")] {
        left -= amount(&one[cost]);
        if left <= 0.0 {
            return name;
        }
    }
    "nothing"
}

fn gains(one: &Value) -> bool {
    number(&one["net"]["amount"]) > 0.0
}

/// How many are left at each step, and why the others are not.
fn funnel(scan: &Value, submits: &Result<Value, Fault>, history: &Result<Value, Fault>) -> Markup {
    let (candidates, evaluated) = (scan["candidates"].as_u64().unwrap_or(0), scan["evaluated"].as_u64().unwrap_or(0));
    let all: Vec<&Value> = items(&scan["opportunities"]).collect();
    let gaining = all.iter().filter(|one| gains(one)).count() as u64;
    let mut eaten: BTreeMap<&str, u64> = BTreeMap::new();
    for one in all.iter().filter(|one| !gains(one)) {
        *eaten.entry(eaten_by(one)).or_default() += 1;
    }
    let why = eaten.iter().map(|(cost, count)| format!("{count} eaten by {cost}")).collect::<Vec<_>>().join(", ");
    let together = items(&scan["take_together"]).count() as u64;
    let sized = all.len() as u64 + scan["omitted"].as_u64().unwrap_or(0);
    let unsized_ones = match evaluated.saturating_sub(sized) {
        0 => String::new(),
        left => format!("no size of {left} gives back what a lender wants"),
    };
    let shared = if together < gaining { "the rest share a pool with a better one".to_owned() } else { String::new() };
    let mut steps = vec![
        ("gain before costs", candidates, String::new()),
        (
            "sized and priced",
            evaluated,
            match candidates.saturating_sub(evaluated) {
                0 => String::new(),
                left => format!("{left} promise less than these"),
            },
        ),
        ("could be sized at all", sized, unsized_ones),
        ("gain after all costs", gaining, why),
        ("can be taken together", together, shared),
    ];
    let of = |outcome: fn(&str) -> bool| {
        let series =
            submits.as_ref().map(|answer| items(&answer["series"]).cloned().collect::<Vec<_>>()).unwrap_or_default();
        let wanted = series.iter().filter(|one| outcome(one["metric"]["outcome"].as_str().unwrap_or_default()));
        let sum: f64 = wanted.map(|one| number(&one["value"])).filter(|value| value.is_finite()).sum();
        sum.round() as u64
    };
    let (taken, refused) = (of(|outcome| outcome == "ok"), of(|outcome| outcome != "ok"));
    if submits.is_ok() {
        let why =
            if refused > 0 { format!("{refused} refused by risk rules, simulation or limits") } else { String::new() };
        steps.push(("submitted in the last hour", taken, why));
    }
    if let Ok(history) = history {
        let filled = items(&history["submissions"]).filter(|one| one["trade"]["outcome"] == "filled").count() as u64;
        steps.push(("filled in the last ten minutes", filled, String::new()));
    }
    html! {
        p.dim { "At block " b { (text(&scan["block"])) } ", base fee " (text(&scan["costs"]["base_fee_per_gas_wei"])) " wei per gas. The first five steps are of that block." }
        (chart::funnel(&steps))
    }
}

fn opportunities(scan: &Value, ages: &HashMap<String, i64>, all: bool) -> Markup {
    let together: Vec<String> = items(&scan["take_together"]).map(text).collect();
    // What one cycle borrows is often what another passes through.
    let borrowed = items(&scan["opportunities"]).map(|one| (text(&one["funding"]["address"]), symbol(&one["funding"])));
    let symbols: HashMap<String, String> = borrowed.collect();
    let wanted = items(&scan["opportunities"]).filter(|one| all || gains(one)).take(SHOWN);
    let rows = wanted.map(|one| {
        let id = text(&one["id"]);
        let net = &one["net"];
        let pools: Vec<String> = items(&one["hops"]).map(|hop| text(&hop["pool"])).collect();
        let to = format!("{PATH}/{}?funding={}&pools={}", encoded(&id), encoded(&text(&one["funding"]["address"])), encoded(&pools.join(",")));
        vec![
            html! { a href=(to) { (route(one, &symbols)) } },
            html! { b.(if gains(one) { "good" } else { "bad" }) { (if gains(one) { "▲ " } else { "▼ " }) (in_units(net)) " " (symbol(&one["funding"])) } br; span.dim { (text(&one["net_in_reference"])) " " (text(&scan["costs"]["currency"])) } },
            html! { (bps(one)) },
            html! { @if let Some(since) = ages.get(&id) { (words::moment(*since)) } @else { "this block" } },
            html! { (in_units(&one["flash_fee"])) " to " (text(&one["lender"])) },
            html! { (in_units(&one["gas_cost"])) " for " (text(&one["gas_estimate"])) },
            html! { (in_units(&one["tip"])) },
            html! { @if together.contains(&id) { span.good { "● take" } } @else if gains(one) { span.fair { "◐ shares a pool with a better one" } } @else { span.bad { "■ eaten by " (eaten_by(one)) } } },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return html! {
            (words::empty("Nothing gains after all costs at this block."))
            @if !all { p { a href={ (PATH) "?all=1" } { "Show what costs more than it gains" } } }
        };
    }
    table(
        &[
            "route",
            "net after all costs",
            "spread after all costs",
            "there since",
            "lender's fee",
            "gas",
            "tip",
            "verdict",
        ],
        rows,
    )
}

fn symbol(coin: &Value) -> String {
    coin["symbol"].as_str().map_or_else(|| brief(&text(&coin["address"])), |symbol| symbol.chars().take(16).collect())
}

/// An address in as many characters as tell it from the next.
fn brief(address: &str) -> String {
    match (address.get(..6), address.get(address.len().saturating_sub(4)..)) {
        (Some(head), Some(tail)) if address.len() > 12 => format!("{head}…{tail}"),
        _ => address.to_owned(),
    }
}

fn in_units(sum: &Value) -> String {
    sum["units"].as_str().map_or_else(|| text(&sum["amount"]), |units| units.chars().take(14).collect())
}

/// What is left of each unit borrowed.
fn bps(one: &Value) -> String {
    let share = number(&one["net"]["amount"]) / amount(&one["amount_in"]) * 10_000.0;
    if share.is_finite() { format!("{share:.2} bps") } else { "–".into() }
}

/// The tokens on the way and the pools between them.
fn route(one: &Value, symbols: &HashMap<String, String>) -> Markup {
    let name = |address: &Value| {
        let address = text(address);
        symbols.get(&address).cloned().unwrap_or_else(|| brief(&address))
    };
    let hops: Vec<&Value> = items(&one["hops"]).collect();
    let tokens = hops
        .first()
        .map(|hop| name(&hop["token_in"]))
        .into_iter()
        .chain(hops.iter().map(|hop| name(&hop["token_out"])));
    let pools = hops.iter().map(|hop| format!("{} {:.2} %", text(&hop["dex"]), number(&hop["fee_millionths"]) / 1e4));
    chart::route(&tokens.collect::<Vec<_>>(), &pools.collect::<Vec<_>>())
}

/// Why submissions ended without a trade, in the execution server's words.
fn refusals(history: &Value) -> Markup {
    let mut whys: BTreeMap<(String, String), u64> = BTreeMap::new();
    for one in items(&history["submissions"]) {
        let why = one["why"].as_str().or_else(|| one["trouble"].as_str()).map(ToOwned::to_owned);
        if let Some(why) = why.filter(|_| one["trade"]["outcome"] != "filled") {
            *whys.entry((text(&one["state"]), why)).or_default() += 1;
        }
    }
    let mut rows: Vec<_> = whys.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if rows.is_empty() {
        return html! { p { span.good { "● " } "None did." } };
    }
    let cells = rows.into_iter().map(|((how, why), count)| vec![html! { b { (count) } }, state(&how), html! { (why) }]);
    table(&["how many", "state", "why"], cells.collect())
}

/// One cycle, `?funding=&pools=`; with `simulate=1` it is run on the newest block, without being sent.
///
/// # Errors
/// When the address does not say which pools.
pub async fn one(look: &Look, id: &str) -> Result<Page, Fault> {
    let query = look.query();
    let (funding, pools) = (query.get("funding").unwrap_or_default(), query.get("pools").unwrap_or_default());
    let pools: Vec<&str> = pools.split(',').filter(|pool| !pool.is_empty()).take(8).collect();
    if pools.len() < 2 {
        return Err(Fault::not_found("the address names no cycle").hint("the market's rows lead to theirs"));
    }
    let asked = json!({ "funding": funding, "pools": pools });
    let history = json!({ "id": id, "limit": 50 });
    let (explained, seen) = tokio::join!(
        look.read(MARKET, "explain_opportunity", asked.clone()),
        look.read(MARKET, "opportunity_history", history),
    );
    let simulated = query.get("simulate") == Some("1");
    let here = look.here.replace("&simulate=1", "");
    let simulation = html! {
        h2 { "Simulate" }
        p.dim { "The exact calldata on the newest block: nothing is sent." }
        @if simulated { (simulation(look, asked).await) p { a href={ (here) "&simulate=1" } { "Simulate again" } } }
        @else { p { a.button href={ (here) "&simulate=1" } { "Simulate now" } } }
    };
    Ok(Page::new(format!("Cycle {id}"), PATH)
        .live("explained", html! { (shown(&explained, explanation)) })
        .still("simulation", simulation)
        .live("seen", html! { h2 { "When it was there" } (shown(&seen, sightings)) }))
}

fn explanation(all: &Value) -> Markup {
    let one = &all["opportunity"];
    let hops = items(&all["hops"]).map(|hop| {
        vec![
            html! { code { (text(&hop["pool"])) } },
            html! { (symbol(&hop["token_in"])) " → " (symbol(&hop["token_out"])) },
            html! { (text(&hop["spot_price"])) },
            html! { (text(&hop["fee_bps"])) },
            html! { (hop["impact_bps"].as_f64().map_or_else(|| "–".into(), |impact| format!("{impact:.2}"))) },
        ]
    });
    let verdict = match all["verdict"].as_str() {
        Some("gains") => html! { b.good { "● gains" } },
        Some("costs_more") => html! { b.fair { "◐ costs more than it gains" } },
        _ => html! { b.bad { "■ loses" } },
    };
    let coins: Vec<String> = items(&all["hops"]).map(|hop| symbol(&hop["token_in"])).collect();
    let tokens: Vec<String> = coins.iter().cloned().chain(coins.first().cloned()).collect();
    let pools: Vec<String> = items(&all["hops"]).map(|hop| format!("{} bps", text(&hop["fee_bps"]))).collect();
    html! {
        p { (verdict) ": " (text(&all["why"])) ", at block " (text(&all["block"])) }
        (chart::route(&tokens, &pools))
        @if one.is_object() {
            (facts(vec![
                ("borrowed", html! { (in_units(&one["amount_in"])) " " (symbol(&one["funding"])) }),
                ("comes back", html! { (in_units(&one["amount_out"])) }),
                ("lender's fee", html! { (in_units(&one["flash_fee"])) " to " (text(&one["lender"])) }),
                ("gas", html! { (in_units(&one["gas_cost"])) " for " (text(&one["gas_estimate"])) }),
                ("tip", html! { (in_units(&one["tip"])) }),
                ("net", html! { b { (in_units(&one["net"])) } " (" (bps(one)) "), " (text(&one["net_in_reference"])) " " (text(&all["costs"]["currency"])) }),
            ]))
        }
        (table(&["pool", "trade", "price at the margin", "fee, bps", "impact, bps"], hops.collect()))
    }
}

async fn simulation(look: &Look, asked: Value) -> Markup {
    let built = match look.read(EXECUTION, "build_arbitrage", asked).await {
        Ok(built) => built,
        Err(fault) => return words::trouble(&fault),
    };
    let run = look.read(EXECUTION, "simulate", json!({ "plan": built["plan"] })).await;
    shown(&run, |run| {
        let success = run["success"] == true;
        html! {
            p { @if success { b.good { "✔ it would succeed" } } @else { b.bad { "✘ it would revert" } ": " (text(&run["reason"])) } " on block " (text(&run["block_number"])) @if run["rehearsed"] == true { " " span.fair { "◐ with a pretended executor: none is deployed yet" } } }
            (facts(vec![
                ("profit by the pools' state", html! { (text(&run["predicted_profit"])) }),
                ("profit as it came out", html! { (text(&run["simulated_profit"])) }),
                ("gas used", html! { (text(&run["gas_used"])) }),
                ("net after gas", html! { b { (text(&run["net"])) } " (" (text(&run["net_in_reference"])) " in the reference currency)" }),
            ]))
            details { summary { "What the risk rules say" } pre { (serde_json::to_string_pretty(&run["verdict"]).unwrap_or_default()) } }
        }
    })
}

fn sightings(seen: &Value) -> Markup {
    let rows = items(&seen["seen"]).map(|one| {
        let found = &one["opportunity"];
        vec![
            html! { (text(&one["block"])) },
            words::when(&one["seen_ms"]),
            html! { (in_units(&found["net"])) " " (symbol(&found["funding"])) },
            html! { (bps(found)) },
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return words::empty("It was never among a block's best.");
    }
    table(&["block", "seen", "net", "of what is borrowed"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(out: u64, fee: u64, gas: u64, tip: u64) -> Value {
        let sum = |amount: u64| json!({ "amount": amount.to_string() });
        let net = out as i64 - 1_000 - (fee + gas + tip) as i64;
        json!({
            "id": "a", "amount_in": sum(1_000), "amount_out": sum(out), "flash_fee": sum(fee), "gas_cost": sum(gas), "tip": sum(tip),
            "net": { "amount": net.to_string() }, "funding": { "address": "0xaaaaaaaaaaaaaaaa", "symbol": "<script>" },
            "hops": [{ "pool": "p", "dex": "<b>", "fee_millionths": 3000, "token_in": "0xaaaaaaaaaaaaaaaa", "token_out": "0xbbbbbbbbbbbbbbbb" }],
        })
    }

    #[test]
    fn the_cost_that_eats_a_gain_is_named() {
        let named = [cycle(1_005, 9, 1, 1), cycle(1_010, 9, 5, 0), cycle(1_020, 9, 5, 50), cycle(1_100, 9, 5, 5)];
        assert_eq!(named.each_ref().map(eaten_by), ["the lender's fee", "gas", "the tip", "nothing"]);
        let scan = json!({ "block": 7, "candidates": 9, "evaluated": 4, "opportunities": named, "take_together": ["a"], "omitted": 0 });
        let none = Err(Fault::unavailable("x"));
        let drawn = funnel(&scan, &none, &none).into_string();
        for part in ["gain before costs", "1 eaten by gas", "5 promise less", "can be taken together"] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
        let shown = opportunities(&scan, &HashMap::new(), true).into_string();
        assert!(!shown.contains("<script>") && !shown.contains("<b>\"") && shown.contains("810.00 bps"), "{shown}");
    }

    #[test]
    fn an_age_is_of_blocks_without_a_gap() {
        let seen = |block: u64, ms: i64| json!({ "block": block, "seen_ms": ms, "opportunity": { "id": "a" } });
        let history = json!({ "seen": [seen(9, 900), seen(8, 800), seen(6, 600)] });
        assert_eq!(ages(&history)["a"], 800);
    }
}
