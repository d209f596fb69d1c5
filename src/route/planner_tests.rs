//! Planning, as a request would meet it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::HeaderMap;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::protocol::{
    ApiError, ErrorKind, ImageSource, Message, NamedObjective, Part, ResponseFormat, Role, Tool, ToolChoice,
};
use crate::upstream::{CallVerdict, Discovered, ListedModel, Listing};

/// Three models that need no key, and one whose key is missing.
const WORLD: &str = "
[providers.open]
base_url = 'http://127.0.0.1:1'
[models.small]
provider = 'open'
weight = 1.0
[models.large]
provider = 'open'
weight = 3.0
can = ['tools', 'structured_output']
[models.silent]
provider = 'open'
weight = 0.0
";

fn ask(config: &str, request: &ChatRequest, seed: u64) -> Result<Plan, PlanError> {
    ask_in(Dialect::Native, config, request, seed)
}

fn ask_in(client: Dialect, config: &str, request: &ChatRequest, seed: u64) -> Result<Plan, PlanError> {
    ask_on(None, client, config, request, seed)
}

fn ask_on(
    stay: Option<&str>,
    client: Dialect,
    config: &str,
    request: &ChatRequest,
    seed: u64,
) -> Result<Plan, PlanError> {
    ask_beside(&BTreeMap::new(), stay, client, &format!("{WORLD}{config}"), request, seed)
}

/// `found` are the models that servers list.
fn ask_beside(
    found: &BTreeMap<String, Listing>,
    stay: Option<&str>,
    client: Dialect,
    config: &str,
    request: &ChatRequest,
    seed: u64,
) -> Result<Plan, PlanError> {
    let config: Config = config.parse().unwrap();
    let catalog = Catalog::new(&config, found, None);
    let rules = Rules::new(&config.rules, &catalog);
    let mut rng = SmallRng::seed_from_u64(seed);
    let headers = HeaderMap::new();
    let mut chance = || rng.random::<f64>();
    let mut question = Question {
        request,
        client,
        body: None,
        id: DecisionId(Uuid::nil()),
        token: None,
        allowed: None,
        headers: &headers,
        now: Instant::now(),
        patience: Duration::ZERO,
        chance: &mut chance,
        stay: stay.map(|model| Stay {
            model: model.into(),
            deployment: None,
            refused_thoughts: 0,
            cached_tokens: 100,
            at: Instant::now(),
        }),
        learned: None,
    };
    plan(&catalog, &rules, &config.routing, &mut question)
}

#[test]
fn who_has_nothing_but_found_models_is_told_how_they_take_part() {
    let mut listing = Listing::default();
    listing.update(Discovered::Models(vec![ListedModel::named("llama3.2:latest")]));
    let found = [("ollama".to_owned(), listing)].into();
    let ask = |config: &str, model: &str| ask_beside(&found, None, Dialect::Native, config, &request(model), 1);
    let error = |config: &str| ask(config, "auto").unwrap_err().to_string();
    let no_keys = error("");
    let told = "llama3.2:latest: its weight is 0; a model that a server lists is called by name only until it is \
        given a weight, on the dashboard or under [models]; ";
    assert!(no_keys.starts_with(&format!("no model is available: {told}")), "{no_keys}");
    assert!(ask("", "llama3.2").is_ok());
    let configured = "[models.\"llama3.2:latest\"]\nprovider = 'ollama'\n";
    assert!(ask(configured, "auto").is_ok());
    let without = error(&format!("{configured}weight = 0.0\n"));
    assert!(without.contains("llama3.2:latest: its weight is 0; ") && !without.contains("[models]"), "{without}");
}

#[test]
fn whether_a_named_model_can_what_no_list_tells_its_server_says() {
    let mut listing = Listing::default();
    listing.update(Discovered::Models(vec![ListedModel::named("mystery")]));
    let found = [("ollama".to_owned(), listing)].into();
    let ask = |config: &str, request: &ChatRequest| {
        let config = format!("{WORLD}{config}");
        ask_beside(&found, None, Dialect::Native, &config, request, 1)
            .map(|plan| plan.decision.chosen.to_string())
            .map_err(|error| error.to_string())
    };
    let source = ImageSource::Base64 { media_type: "image/png".into(), data: "aGVsbG8=".into() };
    let picture = Part::Image { source, detail: None, cache_control: None, breakpoint: None };
    let mut sees = request("mystery");
    sees.messages[0].parts.push(picture);
    let mut calls = must_call("mystery");
    calls.tool_choice = Some(ToolChoice::Auto);
    let mut fills = request("mystery");
    fills.response_format = Some(ResponseFormat::JsonObject);
    for named in [&sees, &calls, &fills] {
        assert_eq!(ask("", named), Ok("mystery".into()));
        let left_open = ChatRequest { model: "auto".into(), ..named.clone() };
        assert_eq!(ask("[[rules]]\nname = 'r'\npin = 'mystery'\n", &left_open), Ok("mystery".into()));
    }
    let known = ChatRequest { model: "small".into(), ..sees.clone() };
    let mut left_open = ChatRequest { model: "auto".into(), ..sees };
    left_open.routing.models = Some(vec!["mystery".into()]);
    let error = ask("", &known).unwrap_err();
    assert!(error.contains("small: it cannot see images"), "{error}");
    assert!(ask("", &left_open).is_err(), "`auto` goes by the guess");
    left_open.messages = request("auto").messages;
    assert_eq!(ask("", &left_open), Ok("mystery".into()));
}

/// A local model, and one that Ollama serves beside another server.
const LOCAL: &str = "
[providers.home]
base_url = 'http://127.0.0.1:2'
dialect = 'ollama'
[models.local]
provider = 'home'
can = ['tools']
[models.both]
can = ['tools']
deployments = [{ provider = 'home' }, { provider = 'open' }]
";

fn must_call(model: &str) -> ChatRequest {
    let tools = ["f", "g"].map(|name| Tool::new(name, serde_json::json!({}))).to_vec();
    ChatRequest { tools, tool_choice: Some(ToolChoice::Required), ..request(model) }
}

#[test]
fn who_cannot_be_made_to_call_a_tool_is_not_asked_to() {
    let plan = ask(LOCAL, &must_call("auto"), 1).unwrap();
    let reasons: Vec<&str> = plan
        .decision
        .excluded
        .iter()
        .filter(|excluded| excluded.model.as_str() == "local")
        .map(|excluded| excluded.reason.as_str())
        .collect();
    assert_eq!(reasons, ["it can only be told in words to call a tool, others be made to"]);
    assert_eq!(names(&plan).last(), Some(&"local"), "but where all others fail");
    assert_eq!(names(&ask(LOCAL, &must_call("local"), 1).unwrap()), ["local"], "who is named is told");
    assert!(names(&ask(LOCAL, &must_call("both"), 1).unwrap()).contains(&"both"), "its other deployment can");
    let mut free = must_call("local");
    free.tool_choice = Some(ToolChoice::Auto);
    assert_eq!(names(&ask(LOCAL, &free, 1).unwrap()), ["local"]);
}

#[test]
fn who_cannot_be_made_to_call_a_tool_says_what_works() {
    let config = "[models.own-head]\nrefuses = ['forced_tools']\ncan = ['tools', 'structured_output']\nprovider = 'home'\n\
        [providers.home]\nbase_url = 'http://127.0.0.1:1/v1'\n";
    let error = ApiError::from(ask(config, &must_call("own-head"), 1).unwrap_err());
    assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidRequest, Some("tool_choice")));
    assert!(error.message.contains("(`tool_choice` \"auto\" works)"), "{}", error.message);
}

/// Three models that refuse to be forced, of which only the first can always be asked for an answer of a schema.
const UNFORCED: &str = "
[providers.claude]
base_url = 'http://127.0.0.1:2'
dialect = 'anthropic'
[models.opus]
provider = 'claude'
refuses = ['forced_tools']
can = ['tools', 'structured_output']
[models.old]
provider = 'claude'
refuses = ['forced_tools']
can = ['tools']
[models.both]
refuses = ['forced_tools']
can = ['tools', 'structured_output']
deployments = [{ provider = 'claude' }, { provider = 'open' }]
";

#[test]
fn an_answer_stands_for_a_call_where_none_can_be_forced() {
    let one_of = |model: &str, parameters: serde_json::Value| {
        let mut request = must_call(model);
        request.tools.truncate(1);
        request.tools[0].parameters = parameters;
        request
    };
    let one = |model: &str| one_of(model, serde_json::json!({}));
    assert_eq!(names(&ask(UNFORCED, &one("opus"), 1).unwrap()), ["opus"]);
    let mut named = must_call("opus");
    named.tool_choice = Some(ToolChoice::Named("g".into()));
    assert_eq!(names(&ask(UNFORCED, &named, 1).unwrap()), ["opus"]);
    let every = ask(UNFORCED, &one("auto"), 1).unwrap();
    assert!(["opus", "both"].iter().all(|able| names(&every).contains(able)), "at its Claude");
    let tree = serde_json::json!({ "type": "object", "properties": { "in": { "$ref": "#" } } });
    for (client, request) in [(Dialect::Anthropic, one("opus")), (Dialect::OpenAi, one("old"))] {
        let error = ApiError::from(ask_in(client, UNFORCED, &request, 1).unwrap_err());
        assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidRequest, Some("tool_choice")));
        assert!(error.message.contains("(`tool_choice` \"auto\" works)"), "{}", error.message);
    }
    // One of several, or of a schema that no answer is held to, is demanded in words, of whom nobody else can be asked.
    for told in [must_call("opus"), one_of("opus", tree)] {
        assert_eq!(names(&ask_in(Dialect::OpenAi, UNFORCED, &told, 1).unwrap()), ["opus"]);
    }
    let open = ask_in(Dialect::OpenAi, UNFORCED, &must_call("auto"), 1).unwrap();
    assert!(names(&open).len() > 1 && names(&open).last() == Some(&"opus"), "behind those that can be made to");
    let mut alone = must_call("auto");
    alone.routing.models = Some(vec!["opus".into(), "old".into()]);
    assert_eq!(names(&ask_in(Dialect::OpenAi, UNFORCED, &alone, 1).unwrap()), ["opus", "old"]);
}

#[test]
fn what_a_model_does_not_take_of_its_dialect_goes_to_the_others() {
    let config = "[models.gpt]\nrefuses = ['stop', 'logprobs']\nprovider = 'home'\n\
        [providers.home]\nbase_url = 'http://127.0.0.1:1/v1'\n";
    let mut ends = request("auto");
    ends.sampling.stop.push("END".into());
    let mut counts = request("auto");
    counts.extensions.insert("logprobs".into(), true.into());
    for (mut asked, field) in [(ends, "stop"), (counts, "logprobs")] {
        let plan = ask_in(Dialect::OpenAi, config, &asked, 1).unwrap();
        assert!(!names(&plan).contains(&"gpt") && !names(&plan).is_empty(), "{field}");
        asked.model = "gpt".into();
        let error = ApiError::from(ask_in(Dialect::OpenAi, config, &asked, 1).unwrap_err());
        assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidRequest, Some(field)));
    }
    let mut plain = request("gpt");
    plain.extensions.insert("logprobs".into(), false.into());
    assert_eq!(names(&ask_in(Dialect::OpenAi, config, &plain, 1).unwrap()), ["gpt"]);
}

#[test]
fn a_named_model_that_cannot_carry_a_field_is_an_error_that_names_it() {
    let mut stranger = must_call("local");
    stranger.tool_choice = Some(ToolChoice::Named("stranger".into()));
    let error: ApiError = ask(LOCAL, &stranger, 1).unwrap_err().into();
    assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidRequest, Some("tool_choice")));
    assert!(error.message.contains("local") && error.message.contains("tool_choice"), "{}", error.message);
}

#[test]
fn tools_in_their_older_form_need_who_can_call_tools() {
    let mut old = request("auto");
    old.extensions.insert("functions".into(), serde_json::json!([{ "name": "f" }]));
    let plan = ask_in(Dialect::OpenAi, "", &old, 1).unwrap();
    assert_eq!(names(&plan), ["large"]);
    assert!(plan.decision.excluded.iter().any(|excluded| excluded.reason == "it cannot call tools"));
    old.extensions.insert("functions".into(), serde_json::json!([]));
    assert_eq!(names(&ask_in(Dialect::OpenAi, "", &old, 1).unwrap()).len(), 2);
}

#[test]
fn what_one_dialect_alone_knows_goes_to_a_backend_of_that_dialect() {
    let config = "
[providers.claude]
base_url = 'http://127.0.0.1:2'
dialect = 'anthropic'
[models.opus]
provider = 'claude'
";
    let mut two_choices = request("auto");
    two_choices.extensions.insert("n".into(), 2.into());
    let plan = ask_in(Dialect::OpenAi, config, &two_choices, 1).unwrap();
    assert!(!names(&plan).contains(&"opus"), "{:?}", names(&plan));
    let excluded = plan.decision.excluded.iter().find(|excluded| excluded.model.as_str() == "opus").unwrap();
    assert_eq!(
        excluded.reason,
        "its backend speaks the anthropic dialect, into which Pointsman does not translate `n`"
    );

    let mut document = request("auto");
    document.messages[0].parts.push(Part::Foreign { kind: "document".into(), value: serde_json::json!({}) });
    let plan = ask_in(Dialect::Anthropic, config, &document, 1).unwrap();
    assert_eq!(names(&plan), ["opus"], "the others speak OpenAI's dialect");
    let data = serde_json::json!({ "file_data": "data:application/pdf;base64,AAAA" });
    let file = Part::Foreign { kind: "file".into(), value: serde_json::json!({ "type": "file", "file": data }) };
    document.messages[0].parts[1] = file;
    assert!(names(&ask_in(Dialect::OpenAi, config, &document, 1).unwrap()).len() > 1);
    let fileless = format!("{config}[providers.open.quirks]\nfiles = false\n");
    let plan = ask_in(Dialect::OpenAi, &fileless, &document, 1).unwrap();
    assert_eq!(names(&plan), ["opus"]);
    let small = plan.decision.excluded.iter().find(|excluded| excluded.model.as_str() == "small").unwrap();
    assert_eq!(small.reason, "its provider does not take `messages[0].content[1] (file)`");

    let unable = format!("{config}[providers.open.quirks]\ncannot = ['n', 'tools', 'input_audio']\n");
    let mut wishes = vec![two_choices, request("auto"), request("auto")];
    wishes[1].extensions.insert("tools".into(), serde_json::json!([{ "type": "custom", "custom": { "name": "x" } }]));
    wishes[2].messages[0].parts.push(Part::Foreign { kind: "input_audio".into(), value: serde_json::json!({}) });
    for wish in wishes {
        assert!(ask_in(Dialect::OpenAi, config, &wish, 1).is_ok());
        assert!(ask_in(Dialect::OpenAi, &unable, &wish, 1).is_err(), "{wish:?}");
    }
    let mut usual = request("auto");
    usual.extensions.insert("n".into(), 1.into());
    assert!(ask_in(Dialect::OpenAi, &unable, &usual, 1).is_ok());
}

#[test]
fn a_thread_that_one_vendor_keeps_goes_where_it_is_sure_to_be_found() {
    let config = "
[providers.claude]
base_url = 'http://127.0.0.1:2'
dialect = 'anthropic'
[providers.claude2]
base_url = 'http://127.0.0.1:3'
dialect = 'anthropic'
[models.opus]
provider = 'claude'
[models.spread]
deployments = [{ provider = 'claude' }, { provider = 'claude2' }]
";
    let threaded = |model: &str| {
        let mut request = request(model);
        request.extensions.insert("thread".into(), serde_json::json!({ "type": "create" }));
        ask_in(Dialect::Anthropic, config, &request, 1)
    };
    assert_eq!(names(&threaded("opus").unwrap()), ["opus"]);
    for model in ["spread", "auto", "small"] {
        let error: ApiError = threaded(model).unwrap_err().into();
        assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidRequest, Some("thread")), "{model}");
    }
}

fn request(model: &str) -> ChatRequest {
    ChatRequest { model: model.into(), messages: vec![Message::text(Role::User, "hello")], ..ChatRequest::default() }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.candidates.iter().map(|model| model.name.as_str()).collect()
}

#[test]
fn auto_draws_by_weight_and_says_with_which_probability() {
    let plans: Vec<Plan> = (0..2000).map(|seed| ask("", &request("auto"), seed).unwrap()).collect();
    let large = plans.iter().filter(|plan| plan.decision.chosen.as_str() == "large").count() as f64 / 2000.0;
    assert!((large - 0.75).abs() < 0.03, "{large}");
    for plan in &plans {
        let expected = if plan.decision.chosen.as_str() == "large" { 0.75 } else { 0.25 };
        assert!((plan.decision.propensity - expected).abs() < 1e-12);
        let sum: f64 = plan.decision.candidates.iter().map(|candidate| candidate.propensity).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert_eq!(plan.candidates.len(), 2, "the other one stands by for failover");
    }
}

#[test]
fn a_conversation_under_way_stays_on_its_model_although_the_weights_choose() {
    let on = |stay, config: &str, seed| {
        ask_on(Some(stay), Dialect::Native, config, &request("auto"), seed).unwrap().decision
    };
    for seed in 0..20 {
        for model in ["small", "large"] {
            let decision = on(model, "", seed);
            assert_eq!((decision.chosen.as_str(), decision.mode), (model, Mode::Sticky));
            assert_eq!((decision.propensity, decision.explore), (1.0, false));
        }
        let barred = on("large", "[[rules]]\nname = 'r'\nforbid = ['large']\n", seed);
        assert_eq!((barred.chosen.as_str(), barred.mode), ("small", Mode::Weighted));
    }
    let named = ask_on(Some("large"), Dialect::Native, "", &request("small"), 1).unwrap().decision;
    assert_eq!((named.chosen.as_str(), named.mode), ("small", Mode::Named));
}

#[test]
fn who_fell_out_is_told_with_the_reason() {
    let plan = ask("", &request("auto"), 1).unwrap();
    let reason = |name: &str| {
        let found = plan.decision.excluded.iter().find(|excluded| excluded.model.as_str() == name);
        found.map(|excluded| excluded.reason.as_str()).unwrap_or_default()
    };
    assert_eq!(reason("silent"), "its weight is 0");
    assert_eq!(reason("gpt-4o"), "no key: set OPENAI_API_KEY");
}

#[test]
fn where_weights_leave_nobody_that_is_said_first() {
    let off: String =
        ["small", "large"].map(|name| format!("[[rules]]\nname = '{name}'\nweights = {{ {name} = 0.0 }}\n")).concat();
    let error = ask(&off, &request("auto"), 1).unwrap_err().to_string();
    assert!(error.starts_with("no model is available: ") && error.contains("small: its weight is 0"), "{error}");
    assert!(error.find("small: its weight").unwrap() < error.find("_API_KEY").unwrap_or(usize::MAX), "{error}");
}

#[test]
fn a_named_model_stands_alone() {
    let plan = ask("", &request("small"), 1).unwrap();
    assert_eq!(names(&plan), ["small"]);
    assert_eq!((plan.decision.mode, plan.decision.propensity), (Mode::Named, 1.0));
    assert_eq!(names(&ask("[aliases]\ntiny = 'small'", &request("tiny"), 1).unwrap()), ["small"]);
    assert_eq!(names(&ask("", &request("open/small"), 1).unwrap()), ["small"]);
}

#[test]
fn only_able_models_are_candidates() {
    let request = ChatRequest { response_format: Some(ResponseFormat::JsonObject), ..request("auto") };
    let plan = ask("", &request, 1).unwrap();
    assert_eq!(names(&plan), ["large"]);
    let named = ChatRequest { model: "small".into(), ..request };
    let error = ask("", &named, 1).unwrap_err();
    assert_eq!(error, PlanError::Unable("small: it has no structured output".into()));
}

#[test]
fn any_json_object_is_asked_of_claude_in_words() {
    let config = "[providers.claude]\nbase_url = 'http://127.0.0.1:2'\ndialect = 'anthropic'\n\
        [models.old]\nprovider = 'claude'\ncan = []\n";
    let asked = |format| ask(config, &ChatRequest { response_format: Some(format), ..request("old") }, 1);
    assert_eq!(names(&asked(ResponseFormat::JsonObject).unwrap()), ["old"]);
    let schema =
        ResponseFormat::JsonSchema { name: "n".into(), schema: serde_json::json!({}), strict: None, implied: false };
    assert_eq!(asked(schema).unwrap_err(), PlanError::Unable("old: it has no structured output".into()));
}

#[test]
fn a_prompt_too_long_for_all_is_told_as_such() {
    let long =
        ChatRequest { messages: vec![Message::text(Role::User, "word ".repeat(2_000_000))], ..request("auto") };
    for model in ["auto", "small"] {
        let error = ask("", &ChatRequest { model: model.into(), ..long.clone() }, 1).unwrap_err();
        assert!(matches!(&error, PlanError::TooLong { text, .. } if text.contains("small: about 25")), "{error:?}");
        let most = crate::config::Model::default().context;
        assert!(error.to_string().contains(&format!(" tokens > {most} maximum: ")), "{error}");
        let api_error = ApiError::from(error);
        assert_eq!((api_error.kind, api_error.param.as_deref()), (ErrorKind::ContextOverflow, Some("messages")));
    }
    let barred = "[[rules]]\nname = 'r'\nforbid = ['small', 'large']\n";
    let error = ask(barred, &long, 1).unwrap_err();
    assert!(!matches!(error, PlanError::TooLong { .. }), "a shorter prompt would not help: {error:?}");
}

#[test]
fn behind_a_named_model_those_are_asked_that_the_client_lists() {
    let ask_beside = |config: &str, model: &str, others: &[&str]| {
        let mut asked = request(model);
        asked.routing.models = Some(others.iter().map(|name| (*name).to_owned()).collect());
        ask(config, &asked, 1)
    };
    for others in [&["large", "small"][..], &["small", "large", "small"]] {
        assert_eq!(names(&ask_beside("", "small", others).unwrap()), ["small", "large"]);
    }
    let plan = ask_beside("", "small", &["large"]).unwrap();
    assert_eq!((plan.decision.propensity, plan.decision.mode), (1.0, Mode::Named));
    let rule = |effect: &str| format!("[[rules]]\nname = 'r'\n{effect}\n");
    assert_eq!(names(&ask_beside(&rule("pin = 'small'"), "large", &["large"]).unwrap()), ["small"]);
    assert_eq!(names(&ask_beside(&rule("prefer = ['large']"), "small", &["large"]).unwrap()), ["small", "large"]);
    let gone = ask_beside(&rule("forbid = ['small']"), "small", &["large"]).unwrap();
    assert_eq!(names(&gone), ["large"]);
    assert!(gone.decision.reason.contains("`small` cannot answer"), "{}", gone.decision.reason);
    assert!(ask_beside("", "small", &["nobody"]).is_err());
}

#[test]
fn rules_prefer_forbid_weigh_and_pin() {
    let rule = |what: &str| format!("[[rules]]\nname = 'r'\n{what}\n");
    for seed in 0..20 {
        assert_eq!(names(&ask(&rule("prefer = ['small']"), &request("auto"), seed).unwrap()), ["small", "large"]);
        assert_eq!(names(&ask(&rule("forbid = ['large']"), &request("auto"), seed).unwrap()), ["small"]);
        assert_eq!(names(&ask(&rule("forbid = ['open/large']"), &request("auto"), seed).unwrap()), ["small"]);
        assert_eq!(names(&ask(&rule("pin = 'silent'"), &request("auto"), seed).unwrap()), ["silent"]);
        let plan =
            ask(&rule("weights = { silent = 1.0, small = 0.0, large = 0.0 }"), &request("auto"), seed).unwrap();
        assert_eq!(names(&plan), ["silent"]);
        assert_eq!(plan.decision.rules, ["r"]);
    }
    let error = ApiError::from(ask(&rule("pin = 'nobody'"), &request("auto"), 1).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Unavailable, "the client did not ask for it: {error}");
}

#[test]
fn an_alias_is_as_good_as_the_name() {
    let other_names = "
[aliases]
little = 'small'
big = 'large'
mute = 'silent'
[models.'tagged:latest']
provider = 'open'
weight = 0.0
";
    let ruled = |what: &str| format!("{other_names}[[rules]]\nname = 'r'\n{what}\n");
    let auto = request("auto");
    assert_eq!(names(&ask(&ruled("forbid = ['big']"), &auto, 1).unwrap()), ["small"]);
    assert_eq!(names(&ask(&ruled("prefer = ['little']"), &auto, 1).unwrap()), ["small", "large"]);
    assert_eq!(names(&ask(&ruled("prefer = ['tagged']"), &auto, 1).unwrap())[0], "tagged:latest");
    let plan = ask(&ruled("weights = { mute = 1.0, little = 0.0, big = 0.0 }"), &auto, 1).unwrap();
    assert_eq!(names(&plan), ["silent"]);

    let mut wishing = auto;
    wishing.routing.exclude = vec!["big".into()];
    assert_eq!(names(&ask(other_names, &wishing, 1).unwrap()), ["small"]);
    wishing.routing.exclude = vec!["bgi".into()];
    let slip = ask(other_names, &wishing, 1).unwrap_err();
    assert_eq!(slip, PlanError::UnknownExclusion("bgi".into()));
    assert_eq!(ApiError::from(slip).param.as_deref(), Some("routing.exclude"));
    let disabled = format!("{other_names}[models.off]\nprovider = 'open'\nenabled = false\n");
    wishing.routing.exclude = vec!["off".into()];
    assert!(ask(&disabled, &wishing, 1).is_ok(), "it is there, and merely cannot be called");
    wishing.routing.exclude.clear();
    wishing.routing.models = Some(vec!["mute".into()]);
    assert_eq!(names(&ask(other_names, &wishing, 1).unwrap()), ["silent"]);
}

/// Asks with a token for some models only, where `small` is called `little`, too.
fn ask_for(allowed: &[&str], request: &ChatRequest) -> Result<Plan, PlanError> {
    let config: Config = format!("{WORLD}[aliases]\nlittle = 'small'\n").parse().unwrap();
    let catalog = Catalog::new(&config, &BTreeMap::new(), None);
    let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
    let mut chance = || 0.5;
    let mut question = Question {
        request,
        client: Dialect::Native,
        body: None,
        id: DecisionId(Uuid::nil()),
        token: None,
        allowed: Some(&allowed),
        headers: &HeaderMap::new(),
        now: Instant::now(),
        patience: Duration::ZERO,
        chance: &mut chance,
        stay: None,
        learned: None,
    };
    plan(&catalog, &Rules::default(), &config.routing, &mut question)
}

#[test]
fn a_token_for_an_alias_is_one_for_the_model() {
    for model in ["auto", "small", "little"] {
        assert_eq!(names(&ask_for(&["little"], &request(model)).unwrap()), ["small"], "{model}");
    }
}

#[test]
fn a_token_for_some_models_hears_of_no_others() {
    let schema = ChatRequest { response_format: Some(ResponseFormat::JsonObject), ..request("auto") };
    let told = |allowed: &[&str]| ask_for(allowed, &schema).unwrap_err();
    assert_eq!(told(&["small"]), PlanError::Unable("small: it has no structured output".into()));
    assert_eq!(told(&["gone"]), PlanError::Unable("this API token may use none of them".into()));
}

#[test]
fn an_unknown_model_is_named_with_its_likeness() {
    let error = ask("", &request("gpt-4o-mni"), 1).unwrap_err();
    assert_eq!(error.to_string(), "there is no model `gpt-4o-mni`; did you mean `gpt-4o-mini`?");
    assert_eq!(ApiError::from(error).kind, ErrorKind::NotFound);
    let error = ask("", &request("nobody/gpt-4o-mni"), 1).unwrap_err();
    assert_eq!(error.to_string(), "there is no model `nobody/gpt-4o-mni`; did you mean `gpt-4o-mini`?");
}

#[test]
fn objectives_come_from_the_name() {
    let plan = ask("", &request("auto:cost"), 1).unwrap();
    assert_eq!(plan.decision.objective, Objective::Named(NamedObjective::Cost));
    assert!(matches!(ask("", &request("auto:cheap"), 1), Err(PlanError::UnknownObjective(_))));
    let plan = ask("[aliases]\nteam = 'cheap'\ncheap = 'auto:cost'", &request("team"), 1).unwrap();
    assert_eq!(plan.decision.objective, Objective::Named(NamedObjective::Cost));
    assert_eq!((names(&plan).len(), plan.decision.requested.as_str()), (2, "team"));
}

#[test]
fn without_failover_there_is_one_candidate() {
    let mut request = request("auto");
    request.routing.failover = Some(false);
    assert_eq!(ask("", &request, 1).unwrap().candidates.len(), 1);
}

#[test]
fn who_rests_is_waited_for_where_nobody_else_can_answer_and_the_rest_is_told_where_it_is_long() {
    let config: Config = "
        [providers.open]
        base_url = 'http://127.0.0.1:1'
        [models.one]
        provider = 'open'
        [models.two]
        provider = 'open'
    "
    .parse()
    .unwrap();
    let catalog = Catalog::new(&config, &BTreeMap::new(), None);
    let now = Instant::now();
    let rest = |model: &str, seconds| {
        let verdict = CallVerdict::Rest(ErrorKind::RateLimited, Some(Duration::from_secs(seconds)));
        let deployment = &catalog.find(model).unwrap().deployments[0];
        deployment.reset();
        deployment.admit(now).unwrap().settle(&verdict, now, 0);
    };
    let among = |patience| {
        let mut request = request("auto");
        request.routing.models = Some(vec!["one".into(), "two".into()]);
        let mut chance = || 0.5;
        let rules = Rules::new(&config.rules, &catalog);
        let mut question = Question {
            request: &request,
            client: Dialect::Native,
            body: None,
            id: DecisionId(Uuid::nil()),
            token: None,
            allowed: None,
            headers: &HeaderMap::new(),
            now,
            patience: Duration::from_secs(patience),
            chance: &mut chance,
            stay: None,
            learned: None,
        };
        plan(&catalog, &rules, &config.routing, &mut question)
    };
    rest("one", 3);
    let other = among(5).unwrap();
    assert_eq!(names(&other), ["two"], "the other one can");
    let away: Vec<&str> = other.away.iter().map(|away| away.model.as_str()).collect();
    assert_eq!(away, ["one"]);
    rest("two", 2);
    let waiting = among(5).unwrap();
    assert_eq!((names(&waiting), waiting.decision.propensity), (vec!["two"], 1.0));
    let error: ApiError = among(1).unwrap_err().into();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::RateLimited, Some(Duration::from_secs(2))));
}
