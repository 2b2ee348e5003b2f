//! Tokens, dollars and budgets.

use super::*;

/// A dollar for a million tokens read, ten for a million written.
const PRICES: &str = r#"{"models":{"claude-*":{"input_nano_usd":1000,"output_nano_usd":10000}}}"#;

fn budget(of: &str, more: Value) -> Value {
    let mut request = json!({ "of": of });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

#[tokio::test]
async fn a_known_price_is_exact_and_an_unknown_one_is_unknown() {
    let world = World::with(PRICES, Config::default()).await;
    world.says(&["a"]).says(&["b"]);
    world.vendor.then(Act::Stream(vendor::completion(&["c"], &[], (7, 3)), true));
    for model in ["claude-x", "claude-x", "gpt-x"] {
        world.chat(&operator("ann"), json!({ "prompt": "x", "model": model })).await.unwrap();
    }
    let rows = expect![[
        r#"{"rows":[{"day":"2026-11-15","caller":"ann","model":"anthropic/claude-x","calls":2,"input_tokens":20,"output_tokens":10,"cost_usd":"0.00012"},{"day":"2026-11-15","caller":"ann","model":"openai/gpt-x","calls":1,"input_tokens":7,"output_tokens":3,"cost_usd":"unknown","unpriced_calls":1}],"more":false,"budgets":[]}"#
    ]];
    world.bench.check("usage", json!({ "days": 2 }), rows).await;
    world.bench.check("usage", json!({ "caller": "bob" }), expect![[r#"{"rows":[],"more":false,"budgets":[]}"#]]).await;
    world.bench.check("usage", json!({ "days": 0 }), expect!["invalid_argument: days is 0 (1 to 90)"]).await;
}

#[tokio::test]
async fn budgets_are_hard_stops_until_the_day_is_over() {
    let world = World::with(PRICES, Config::default()).await;
    let set = expect![[r#"{"of":"caller","caller":"ann","tokens":200,"used_tokens":0,"used_usd":"0"}"#]];
    world.bench.check("set_budget", budget("caller", json!({ "caller": "ann", "tokens": 200 })), set).await;
    world.vendor.then(Act::Stream(messages(&["much"], &[], (10, 150)), true));
    world.chat(&operator("ann"), json!({ "prompt": "x" })).await.unwrap();
    let granted = world.vendor.asked()[0].body["max_tokens"].as_u64().unwrap();
    assert!(granted < 200, "the answer may not be longer than what is left: {granted}");
    world.vendor.then(Act::Stream(messages(&["more"], &[], (10, 25)), true));
    world.chat(&operator("ann"), json!({ "prompt": "x" })).await.unwrap();
    let refused = expect![
        "rate_limited: the budget of this caller for today is used up: 200 tokens (days end at midnight UTC; an administrator may set another budget (set_budget))"
    ];
    world.bench.check_as(&operator("ann"), "chat", json!({ "prompt": "x" }), refused).await;
    assert_eq!(world.vendor.asked().len(), 2, "nobody was asked");
    world.says(&["others go on"]);
    world.chat(&operator("bob"), json!({ "prompt": "x" })).await.unwrap();
    world.bench.world.clock.advance_ms(86_400_000);
    world.says(&["tomorrow"]);
    world.chat(&operator("ann"), json!({ "prompt": "x" })).await.unwrap();
    let denied = expect![
        "permission_denied: role operator may not use ai-integration.set_budget (needs a key with role admin: `flotilla token create NAME --role admin`)"
    ];
    world
        .bench
        .check_as(
            &operator("ann"),
            "set_budget",
            budget("caller", json!({ "caller": "ann", "tokens": 1_000_000 })),
            denied,
        )
        .await;
}

#[tokio::test]
async fn a_budget_in_dollars_wants_prices() {
    let world = World::with(PRICES, Config::default()).await;
    world
        .bench
        .check(
            "set_budget",
            budget("fleet", json!({ "usd": "0.00125" })),
            expect![[r#"{"of":"fleet","usd":"0.00125","used_tokens":0,"used_usd":"0"}"#]],
        )
        .await;
    let unknown = expect![
        "not_configured: the fleet for today: there is a budget in dollars, and the price of `gpt-x` is not known (put it into models.price_file, or set a budget in tokens alone)"
    ];
    world.bench.check("chat", json!({ "prompt": "x", "model": "gpt-x" }), unknown).await;
    world.vendor.then(Act::Stream(messages(&["x"], &[], (10, 110)), true));
    world.chat(&operator("ann"), json!({ "prompt": "x" })).await.unwrap();
    let spent = expect![
        "rate_limited: the budget of the fleet for today is used up: 0.00125 dollars (days end at midnight UTC; an administrator may set another budget (set_budget))"
    ];
    world.bench.check("chat", json!({ "prompt": "x" }), spent).await;
    world
        .bench
        .check(
            "set_budget",
            budget("fleet", json!({})),
            expect![[r#"{"of":"fleet","used_tokens":120,"used_usd":"0.00111"}"#]],
        )
        .await;
    world.says(&["without a bound"]);
    world.chat(&operator("ann"), json!({ "prompt": "x" })).await.unwrap();
}

#[tokio::test]
async fn callers_at_the_same_time_do_not_pass_a_budget_together() {
    let world = World::new().await;
    world.bench.reply(&admin(), "set_budget", budget("fleet", json!({ "tokens": 1_000 }))).await.unwrap();
    for _ in 0..20 {
        world.vendor.then(Act::Stream(messages(&["x"], &[], (3, 300)), true));
    }
    let caller = operator("ann");
    let asked = (0..20).map(|_| world.chat(&caller, json!({ "prompt": "x", "tokens_max": 300 })));
    let ended = futures_util::future::join_all(asked).await;
    let granted: u64 = world.vendor.asked().iter().map(|request| request.body["max_tokens"].as_u64().unwrap()).sum();
    assert!(granted <= 1_000, "{granted} tokens were granted together");
    assert!(ended.iter().any(Result::is_ok) && ended.iter().any(Result::is_err));
}

#[tokio::test]
async fn the_next_model_is_asked_when_one_does_not_answer() {
    let world = kernel::fake::World::default();
    let vendor = Vendor::start(&world.tasks).await;
    let mut config = llm::Config { fallback: vec!["gpt-x".into()], ..llm::Config::default() };
    config.providers.get_mut("anthropic").unwrap().url.clone_from(&vendor.url);
    config.providers.get_mut("openai").unwrap().url = format!("{}/v1", vendor.url);
    let keys = ["anthropic", "openai"].map(|name| (name.to_owned(), Secret::new(KEY)));
    let models = llm::open(&config, &BTreeMap::from(keys), &world.clock, &world.tasks).unwrap();
    let ports = MarketPorts { models, ..MarketPorts::without_pools(world.ports()) };
    let bench =
        Bench::of(world.clone(), Service::build::<AiIntegration>(&ports, Config::default(), shared(&world)).unwrap());
    vendor.then(Act::Plain(429, "retry-after: 3600\r\n", "{}".into()));
    vendor.then(Act::Stream(vendor::completion(&["from the other"], &[], (7, 3)), true));
    let answer = expect![[
        r#"{"text":"from the other","ended":"end","took":{"provider":"openai","model":"gpt-x","input_tokens":7,"output_tokens":3,"cost_usd":"unknown"}}"#
    ]];
    bench.check("chat", json!({ "prompt": "x", "model": "claude-x" }), answer).await;
    vendor.then(Act::Plain(400, "", r#"{"error":{"message":"bad"}}"#.into()));
    let wrong = expect!["invalid_argument: anthropic: 400 bad"];
    bench.check("chat", json!({ "prompt": "x", "model": "claude-x" }), wrong).await;
    let order = expect![[
        r#"{"providers":[{"name":"anthropic","ready":true,"serves":["claude-*"]},{"name":"openai","ready":true,"serves":["gpt-*","chatgpt-*","o1*","o3*","o4*","text-embedding-*"]}],"order":[],"trouble":"not_configured: no model is named, and there is no default (name one (list_models has them), or set models.default_model)"}"#
    ]];
    bench.check("list_models", json!({}), order).await;
}

#[tokio::test]
async fn a_question_taken_back_is_counted_all_the_same() {
    let world = World::new().await;
    world.vendor.then(Act::Silence);
    {
        let request = json!({ "prompt": "x", "tokens_max": 50 });
        let caller = operator("ann");
        let mut asking = std::pin::pin!(world.chat(&caller, request));
        while world.vendor.asked().is_empty() {
            tokio::select! {
                _ = &mut asking => panic!("nobody answers"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    let counted = loop {
        let shown = world.bench.shown(&admin(), "usage", json!({})).await;
        if shown.contains("\"calls\":1") {
            break shown;
        }
        tokio::task::yield_now().await;
    };
    assert!(counted.contains(r#""output_tokens":50"#) && counted.contains(r#""estimated_calls":1"#), "{counted}");
}
