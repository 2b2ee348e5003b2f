//! Both wire formats, and what may go wrong with them, against a server of this machine.

mod vendor;

use expect_test::{Expect, expect};
use kernel::Code;
use kernel::models::{Deaf, Message, Offer, Stop, ToolCall, ToolResult};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use vendor::{Act, Vendor, completion, messages};

const KEY: &str = "sk-S3cret-key";

struct World {
    tasks: Tasks,
    vendor: Vendor,
    models: Arc<dyn Models>,
}

/// Providers `anthropic`, `openai` and `local` (without a key) on one server.
async fn world(change: impl FnOnce(&mut Config)) -> World {
    let tasks = Tasks::new();
    let vendor = Vendor::start(&tasks).await;
    let mut config = Config::default();
    config.providers.get_mut("anthropic").unwrap().url = vendor.url.clone();
    config.providers.get_mut("openai").unwrap().url = format!("{}/v1", vendor.url);
    let models = vec!["llama*".to_owned(), "embed-*".to_owned()];
    let local = ProviderConfig { url: format!("{}/local/v1/", vendor.url), models, ..ProviderConfig::default() };
    config.providers.insert("local".into(), local);
    change(&mut config);
    let keys = ["anthropic", "openai"].map(|name| (name.to_owned(), Secret::new(KEY)));
    let models = open(&config, &BTreeMap::from(keys), &Clock::system(), &tasks).unwrap();
    World { tasks, vendor, models }
}

fn wish(text: &str) -> Wish {
    Wish { messages: vec![Message::User { text: text.into() }], tokens_max: 100, ..Wish::default() }
}

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

#[async_trait]
impl Listener for Ear {
    async fn hear(&self, piece: &str) {
        self.0.lock().push(piece.to_owned());
    }
}

impl World {
    async fn ask(&self, model: &str, wish: &Wish) -> Result<Said> {
        let chosen = self.models.chosen(model, false)?;
        self.models.chat(&chosen[0], wish, &Deaf).await
    }

    /// Asks, and shows what came of it in a line.
    async fn check(&self, model: &str, expected: Expect) {
        let shown = match self.ask(model, &wish("hello")).await {
            Err(fault) => fault.to_string(),
            Ok(said) => {
                let broken = said.broken.map(|fault| format!(" {fault}")).unwrap_or_default();
                let usage = (said.usage.input_tokens, said.usage.output_tokens);
                format!("{:?} {:?} {usage:?}{broken}", said.text, said.stop)
            }
        };
        expected.assert_eq(&shown.replace(&self.vendor.url, "URL"));
    }
}

#[tokio::test]
async fn words_come_as_they_are_said_in_both_languages() {
    let world = world(|_| {}).await;
    for (model, events) in [
        ("claude-x", messages(&["Hel", "lo ", "thére"], &[], (12, 5))),
        ("gpt-x", completion(&["Hel", "lo ", "thére"], &[], (12, 5))),
        ("llama3", completion(&["Hel", "lo ", "thére"], &[], (12, 5))),
    ] {
        world.vendor.then(Act::Stream(events, true));
        let chosen = world.models.chosen(model, false).unwrap();
        let ear = Ear::default();
        let said = world.models.chat(&chosen[0], &wish("hello"), &ear).await.unwrap();
        assert_eq!((said.text.as_str(), said.stop, said.calls.len()), ("Hello thére", Stop::End, 0), "{model}");
        assert_eq!((said.usage.input_tokens, said.usage.output_tokens), (Some(12), Some(5)), "{model}");
        assert_eq!(*ear.0.lock(), ["Hel", "lo ", "thére"], "{model}");
    }
    let asked = world.vendor.asked();
    let paths: Vec<&str> = asked.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/v1/messages", "/v1/chat/completions", "/local/v1/chat/completions"]);
    assert!(
        asked[0].headers.contains(&format!("x-api-key: {KEY}"))
            && asked[0].headers.contains("anthropic-version: 2023-06-01")
    );
    assert!(asked[1].headers.contains(&format!("authorization: Bearer {KEY}")));
    assert!(!asked[2].headers.contains(KEY), "a key goes to its own provider only");
    assert_eq!(asked[0].body["max_tokens"], 100);
    assert_eq!((&asked[1].body["max_completion_tokens"], &asked[2].body["max_tokens"]), (&json!(100), &json!(100)));
}

#[tokio::test]
async fn calls_go_there_and_back_in_both_languages() {
    let world = world(|_| {}).await;
    let arguments = r#"{"data":"a \"b\" é"}"#;
    let calls = [("c1", "hash", arguments), ("c2", "now", "")];
    for (model, events) in
        [("claude-x", messages(&["Look:"], &calls, (1, 1))), ("gpt-x", completion(&["Look:"], &calls, (1, 1)))]
    {
        world.vendor.then(Act::Stream(events, true));
        let takes = json!({ "type": "object" });
        let offer = Offer { name: "hash".into(), about: "hashes".into(), takes };
        let call =
            |id: &str, arguments: &str| ToolCall { id: id.into(), name: "hash".into(), arguments: arguments.into() };
        let before = vec![
            Message::User { text: "hash".into() },
            Message::Model { text: String::new(), calls: vec![call("p1", "{\"a\":1}"), call("p2", "nonsense")] },
            Message::Results {
                results: vec![
                    ToolResult { id: "p1".into(), text: "0x1".into(), failed: false },
                    ToolResult { id: "p2".into(), text: "no JSON".into(), failed: true },
                ],
            },
        ];
        let wish = Wish { messages: before, tools: vec![offer], system: "be brief".into(), ..wish("") };
        let said = world.ask(model, &wish).await.unwrap();
        let got: Vec<_> = said.calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(got, [("c1", "hash", arguments), ("c2", "now", "{}")], "{model}");
        assert_eq!((said.text.as_str(), said.stop), ("Look:", Stop::Tools));
    }
    let asked = world.vendor.asked();
    expect![[r#"[{"role":"user","content":"hash"},{"role":"assistant","content":[{"type":"tool_use","id":"p1","name":"hash","input":{"a":1}},{"type":"tool_use","id":"p2","name":"hash","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"p1","content":"0x1","is_error":false},{"type":"tool_result","tool_use_id":"p2","content":"no JSON","is_error":true}]}]"#]]
        .assert_eq(&asked[0].body["messages"].to_string());
    expect![[r#"[{"role":"system","content":"be brief"},{"role":"user","content":"hash"},{"role":"assistant","content":"","tool_calls":[{"id":"p1","type":"function","function":{"name":"hash","arguments":"{\"a\":1}"}},{"id":"p2","type":"function","function":{"name":"hash","arguments":"nonsense"}}]},{"role":"tool","tool_call_id":"p1","content":"0x1"},{"role":"tool","tool_call_id":"p2","content":"no JSON"}]"#]]
        .assert_eq(&asked[1].body["messages"].to_string());
    expect![[r#"[{"name":"hash","description":"hashes","input_schema":{"type":"object"}}]"#]]
        .assert_eq(&asked[0].body["tools"].to_string());
    expect![[
        r#"[{"type":"function","function":{"name":"hash","description":"hashes","parameters":{"type":"object"}}}]"#
    ]]
    .assert_eq(&asked[1].body["tools"].to_string());
}

#[tokio::test]
async fn an_answer_of_a_schema_is_text_whichever_way_it_comes() {
    let world = world(|_| {}).await;
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let wish = Wish { schema: Some(schema.clone()), ..wish("n?") };
    world.vendor.then(Act::Stream(messages(&["I will."], &[("c1", "answer", "{\"n\":7}")], (1, 1)), true));
    world.vendor.then(Act::Stream(completion(&["{\"n\":7}"], &[], (1, 1)), true));
    for model in ["claude-x", "gpt-x"] {
        let said = world.ask(model, &wish).await.unwrap();
        assert_eq!((said.text.as_str(), said.stop, said.calls.len()), ("{\"n\":7}", Stop::End, 0), "{model}");
    }
    let asked = world.vendor.asked();
    assert_eq!(asked[0].body["tool_choice"], json!({ "type": "tool", "name": "answer" }));
    assert_eq!(asked[0].body["tools"][0]["input_schema"], schema);
    assert_eq!(asked[1].body["response_format"]["json_schema"]["schema"], schema);
}

#[tokio::test]
async fn what_fails_before_the_first_word_is_asked_again_and_nothing_after_it() {
    let world = world(|_| {}).await;
    let fine = || Act::Stream(messages(&["ok"], &[], (3, 1)), true);
    let busy = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    // Retry-After is kept to; what has none is waited for a little.
    world.vendor.then(Act::Plain(429, "retry-after: 0\r\n", busy.into()));
    world.vendor.then(Act::Plain(529, "", busy.into())).then(fine());
    world.check("claude-x", expect![[r#""ok" End (Some(3), Some(1))"#]]).await;
    assert_eq!(world.vendor.asked().len(), 3);
    // An error that comes by the stream, before anything was said.
    let error: Value = serde_json::from_str(busy).unwrap();
    world.vendor.then(Act::Stream(vec![error.clone()], true)).then(fine());
    world.check("claude-x", expect![[r#""ok" End (Some(3), Some(1))"#]]).await;
    world.vendor.then(Act::Cut).then(fine());
    world.check("claude-x", expect![[r#""ok" End (Some(3), Some(1))"#]]).await;
    let before = world.vendor.asked().len();
    // Once it has begun to speak: what came is the answer, and nobody is asked again.
    let mut events = messages(&["half an", " answer"], &[], (3, 9));
    events.truncate(5);
    world.vendor.then(Act::Stream(events.clone(), false));
    let broken = expect![
        "\"half an answer\" Broken (Some(3), None) unavailable: anthropic: 127.0.0.1: the answer broke off: unexpected EOF during chunk size line"
    ];
    world.check("claude-x", broken).await;
    events.push(error);
    world.vendor.then(Act::Stream(events, true));
    world
        .check(
            "claude-x",
            expect!["\"half an answer\" Broken (Some(3), None) unavailable: anthropic: overloaded_error: Overloaded"],
        )
        .await;
    let mut open_end = completion(&["half"], &[], (1, 1));
    open_end.truncate(2);
    world.vendor.then(Act::Stream(open_end, true));
    world.check("gpt-x", expect!["\"half\" Broken (None, None) unavailable: openai: the answer broke off"]).await;
    assert_eq!(world.vendor.asked().len(), before + 3, "none was asked twice");
    world.tasks.stop_because("the test ends");
}

#[tokio::test]
async fn refusals_are_told_and_hold_no_key() {
    let world = world(|config| config.first_word_seconds = 1).await;
    let said = |words: &str| json!({ "error": { "message": words, "type": "x" } }).to_string();
    let cases = [
        (401, "", said(&format!("Incorrect API key provided: {KEY}."))),
        (400, "", said("max_tokens: too many\nof them")),
        (404, "", said("model: claude-x")),
        (302, "location: http://evil.example/\r\n", String::new()),
        (429, "retry-after: 3600\r\n", said("slow down")),
        (200, "", "{}".into()),
    ];
    let expected = [
        expect![
            "unauthenticated: anthropic: 401 Incorrect API key provided: ***. (see the key of models.providers.anthropic)"
        ],
        expect!["invalid_argument: anthropic: 400 max_tokens: too many of them"],
        expect!["not_found: anthropic: 404 model: claude-x (list_models has the models that it serves)"],
        expect![
            "upstream: anthropic: 302 no reason given (redirects are not followed: models.providers must have its own address)"
        ],
        expect!["rate_limited: anthropic: 429 slow down"],
        expect!["upstream: anthropic: it answers with `application/json` instead of a stream"],
    ];
    for ((status, headers, body), expected) in cases.into_iter().zip(expected) {
        world.vendor.then(Act::Plain(status, headers, body));
        world.check("claude-x", expected).await;
    }
    assert_eq!(world.vendor.asked().len(), 6, "none of them is worth another try");
    let quota = json!({ "error": { "message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota" } });
    world.vendor.then(Act::Plain(429, "", quota.to_string()));
    world.check("gpt-x", expect!["rate_limited: openai: 429 You exceeded your current quota"]).await;
    world.vendor.then(Act::Silence);
    world.check("gpt-x", expect!["timeout: openai: no answer within 1 s"]).await;
    world.vendor.then(Act::Stream(vec!["not json".into()], true));
    world
        .check(
            "gpt-x",
            expect!["upstream: openai: an event of the answer cannot be read: expected ident at line 1 column 2"],
        )
        .await;
}

#[tokio::test]
async fn a_huge_answer_is_cut_and_kept() {
    let world = world(|_| {}).await;
    let piece = "x".repeat(1 << 20);
    let pieces = [piece.as_str(); 6];
    world.vendor.then(Act::Stream(completion(&pieces, &[], (1, 1)), true));
    let said = world.ask("llama3", &wish("much")).await.unwrap();
    assert_eq!((said.stop, said.broken.unwrap().code), (Stop::Broken, Code::TooLarge));
    assert_eq!(said.text.len(), 5 << 20, "and not a byte is read after that");
    let calls: Vec<(&str, &str, &str)> = (0..40).map(|_| ("c", "t", "{}")).collect();
    world.vendor.then(Act::Stream(messages(&[], &calls, (1, 1)), true));
    let said = world.ask("claude-x", &wish("many")).await.unwrap();
    assert_eq!((said.stop, said.calls.len(), said.broken.unwrap().code), (Stop::Broken, 0, Code::TooLarge));
}

#[tokio::test]
async fn who_fails_again_and_again_is_left_alone() {
    let world = world(|_| {}).await;
    for _ in 0..5 {
        world.vendor.then(Act::Plain(503, "retry-after: 0\r\n", "{}".into()));
    }
    world.check("claude-x", expect!["unavailable: anthropic: 503 no reason given"]).await;
    world
        .check(
            "claude-x",
            expect!["unavailable: anthropic: it failed several times in a row and is left alone for a while"],
        )
        .await;
    assert_eq!(world.vendor.asked().len(), 5, "four tries, and the one that opened the breaker");
    let row = &world.models.providers(false).await[0];
    assert_eq!(row.trouble.as_deref(), Some("it failed several times in a row and is left alone for a while"));
}

#[tokio::test]
async fn models_are_chosen_by_name_and_fall_back_in_order() {
    let world = world(|config| {
        config.fallback = vec!["gpt-b".into(), "llama-c".into(), "claude-a".into()];
        config.default_model = Some("local/anything".into());
    })
    .await;
    let order = |model: &str, embed: bool| {
        let chosen = world.models.chosen(model, embed);
        chosen.map(|all| all.iter().map(|one| format!("{}/{}", one.provider, one.model)).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(order("claude-a", false).unwrap(), "anthropic/claude-a openai/gpt-b local/llama-c");
    assert_eq!(order("", false).unwrap(), "local/anything openai/gpt-b local/llama-c anthropic/claude-a");
    assert_eq!(
        order("openai/claude-a", false).unwrap(),
        "openai/claude-a openai/gpt-b local/llama-c anthropic/claude-a"
    );
    assert_eq!(order("embed-1", true).unwrap(), "local/embed-1", "vectors of another model are of no use");
    let unknown = expect![
        "not_found: no provider serves the model `mistral` (models.providers has claude-*, llama*, embed-*, gpt-*, chatgpt-*, o1*, o3*, o4*, text-embedding-*; or say provider/model)"
    ];
    unknown.assert_eq(&order("mistral", false).unwrap_err().to_string());
    let none = expect![
        "not_configured: no model is named, and there is no default (name one (list_models has them), or set models.embedding_model)"
    ];
    none.assert_eq(&order("", true).unwrap_err().to_string());
}

#[tokio::test]
async fn a_missing_key_names_the_variable_to_set() {
    let open = |config: &Config| open(config, &BTreeMap::new(), &Clock::system(), &Tasks::new()).unwrap();
    let models = open(&Config::default());
    assert!(!models.ready());
    let text = |model: &str| models.chosen(model, false).unwrap_err().to_string();
    expect!["not_configured: the model `claude-x` of anthropic needs a key (set ANTHROPIC_API_KEY, or ANTHROPIC_API_KEY_FILE to a file that holds it)"].assert_eq(&text("claude-x"));
    expect!["not_configured: the model `gpt-x` of openai needs a key (set OPENAI_API_KEY, or OPENAI_API_KEY_FILE to a file that holds it)"].assert_eq(&text("gpt-x"));
    expect!["not_configured: no language model is configured (set ANTHROPIC_API_KEY or OPENAI_API_KEY, or name an endpoint in [models.providers])"].assert_eq(&text(""));
}

#[tokio::test]
async fn vectors_come_in_the_order_of_their_texts() {
    let world = world(|_| {}).await;
    let row = |index: usize, vector: [f32; 2]| json!({ "index": index, "embedding": vector });
    let answer = json!({ "data": [row(1, [0.5, -1.0]), row(0, [1.0, 2.0])], "usage": { "prompt_tokens": 4, "total_tokens": 4 } });
    world.vendor.then(Act::Plain(200, "", answer.to_string()));
    world.vendor.then(Act::Plain(200, "", json!({ "data": [row(0, [1.0, 2.0])] }).to_string()));
    let chosen = world.models.chosen("embed-1", true).unwrap();
    let texts = ["a".to_owned(), "b".to_owned()];
    let embedded = world.models.embed(&chosen[0], &texts).await.unwrap();
    assert_eq!(embedded.vectors, [vec![1.0, 2.0], vec![0.5, -1.0]]);
    assert_eq!((embedded.usage.input_tokens, embedded.usage.output_tokens), (Some(4), Some(0)));
    let short = world.models.embed(&chosen[0], &texts).await.unwrap_err();
    assert_eq!(short.to_string(), "upstream: local: the embeddings cannot be read: 1 vectors for 2 texts");
    let chosen = world.models.chosen("claude-x", true).unwrap();
    let none = world.models.embed(&chosen[0], &texts).await.unwrap_err();
    assert_eq!(none.code, Code::Unsupported);
}

#[tokio::test]
async fn providers_tell_their_models_when_asked() {
    let world = world(|_| {}).await;
    let list = |ids: [&str; 2]| json!({ "data": ids.map(|id| json!({ "id": id })) }).to_string();
    world.vendor.then(Act::Plain(200, "", list(["claude-b", "claude-a"])));
    world.vendor.then(Act::Plain(200, "", list(["llama3", "x"]))).then(Act::Plain(500, "", "oops".into()));
    let rows = world.models.providers(true).await;
    let told: Vec<_> = rows.iter().map(|row| (&*row.name, row.models.join(" "), row.trouble.clone())).collect();
    assert_eq!(told[0], ("anthropic", "claude-a claude-b".into(), None));
    assert_eq!(told[1], ("local", "llama3 x".into(), None));
    assert_eq!(told[2], ("openai", String::new(), Some("unavailable: openai: 500 no reason given".into())));
}

#[test]
fn the_configuration_is_held_to_its_bounds() {
    let check = |change: &dyn Fn(&mut Config), expected: Expect| {
        let mut config = Config::default();
        change(&mut config);
        expected.assert_eq(&config.check().unwrap_err().to_string());
    };
    let provider = |url: &str, key: Option<&str>| ProviderConfig {
        url: url.into(),
        key: key.map(Into::into),
        ..ProviderConfig::default()
    };
    let with = |name: &'static str, one: ProviderConfig| {
        move |config: &mut Config| drop(config.providers.insert(name.into(), one.clone()))
    };
    check(
        &with("x", provider("", None)),
        expect!["invalid_argument: models.providers.x.url is `` (like http://127.0.0.1:11434/v1)"],
    );
    check(
        &with("X y", provider("http://a", None)),
        expect!["invalid_argument: models.providers.X y: not a name (1 to 32 lower-case letters, digits and `-`)"],
    );
    check(
        &with("x", provider("http://example.com", Some("env:K"))),
        expect![
            "invalid_argument: models.providers.x.url is to be told a key in clear (https://…, or a provider that needs no key)"
        ],
    );
    check(
        &with("x", provider("https://example.com", Some(KEY))),
        expect!["invalid_argument: models.providers.x.key is not a reference to a secret (env:NAME or file:PATH)"],
    );
    check(&|config| config.silence_seconds = 0, expect!["invalid_argument: models.silence_seconds is 0 (1 to 600)"]);
}

#[test]
fn prices_are_those_of_the_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.json");
    let price = |text: &str, provider: &str, model: &str| {
        std::fs::write(&file, text).unwrap();
        Prices::read(Some(&file)).map(|prices| prices.of(provider, model).map(|price| price.input_nano_usd))
    };
    let text = r#"{"as_of":"2026-11-01","models":{"claude-*":{"input_nano_usd":1},"claude-big-*":{"input_nano_usd":2,"output_nano_usd":9},"local/*":{"input_nano_usd":0}}}"#;
    assert_eq!(price(text, "anthropic", "claude-x").unwrap(), Some(1));
    assert_eq!(price(text, "anthropic", "claude-big-1").unwrap(), Some(2));
    assert_eq!(price(text, "local", "llama").unwrap(), Some(0), "what costs nothing is said to");
    assert_eq!(price(text, "openai", "gpt-x").unwrap(), None);
    for bad in ["{", r#"{"models":{"x":{"input_nano_usd":-1}}}"#, r#"{"models":{"x":{"input":1}}}"#, "{}"] {
        assert_eq!(price(bad, "a", "b").unwrap_err().code, Code::InvalidArgument, "{bad}");
    }
}
