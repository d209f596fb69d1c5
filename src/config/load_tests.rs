//! Loading, layer by layer, as an operator would meet it.

use std::fs;

use secrecy::ExposeSecret;

use super::*;

fn args(dir: &tempfile::TempDir) -> LoadArgs {
    LoadArgs { dir: dir.path().to_owned(), ..LoadArgs::default() }
}

fn with_file(text: &str) -> Result<Loaded, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.toml");
    fs::write(&file, text).unwrap();
    load(&LoadArgs { file: Some(file), ..args(&dir) })
}

#[test]
fn the_default_file_says_what_the_code_defaults_to() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = load(&args(&dir)).unwrap().config;
    let code = Config::default();
    assert_eq!(loaded.server, code.server);
    assert_eq!(loaded.admin, code.admin);
    assert_eq!(loaded.access, code.access);
    assert_eq!(loaded.limits, code.limits);
    assert_eq!(loaded.dispatch, code.dispatch);
    assert_eq!(loaded.routing, code.routing);
    assert_eq!(loaded.learning, code.learning);
    assert_eq!(loaded.budget, code.budget);
    assert_eq!(loaded.classifier, code.classifier);
    assert_eq!(loaded.telemetry, code.telemetry);
    assert_eq!(loaded.store, code.store);
    for name in ["claude-3-opus", "claude-3-sonnet", "claude-3-haiku", "claude-3.5-sonnet", "claude-3.7-sonnet"] {
        assert!(loaded.models.contains_key(name), "{name}");
    }
    for name in
        ["gpt-4o", "gpt-4o-mini", "deepseek-v3.1", "deepseek-r1", "deepseek-flash", "claude-opus-5-5", "gpt-6-sol"]
    {
        assert!(loaded.models.contains_key(name), "{name}");
    }
    // Of `functions`, the older form of tools, DeepSeek's documentation does not speak.
    assert!(loaded.providers["deepseek"].quirks.cannot.contains("functions"));
}

#[test]
fn the_default_file_names_every_key() {
    let file = serde_json::to_value(DEFAULTS.parse::<Table>().unwrap()).unwrap();
    let code = serde_json::to_value(Config::default()).unwrap();
    let sections = [
        "server",
        "admin",
        "access",
        "limits",
        "dispatch",
        "routing",
        "learning",
        "budget",
        "classifier",
        "telemetry",
        "store",
    ];
    for section in sections {
        names_every_key(section, &code[section], &file[section]);
    }
}

/// A key without a default stands in the file as a comment.
fn names_every_key(path: &str, code: &serde_json::Value, file: &serde_json::Value) {
    for (key, value) in code.as_object().unwrap() {
        let path = format!("{path}.{key}");
        let commented = value.is_null() && DEFAULTS.contains(&format!("# {key} = "));
        assert!(file.get(key).is_some() || commented, "{path} is not in default.toml");
        if value.is_object() {
            names_every_key(&path, value, &file[key]);
        }
    }
}

#[test]
fn layers_win_in_order_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("config")).unwrap();
    fs::write(dir.path().join("config/staging.toml"), "[server]\ndrain_s = 1\nmax_connections = 1\n").unwrap();
    fs::write(dir.path().join("my.toml"), "[server]\ndrain_s = 2\n").unwrap();
    fs::write(dir.path().join(".env"), "POINTSMAN__LIMITS__MAX_BODY_MB=7\nPOINTSMAN__ROUTING__MAX_CANDIDATES=9\n")
        .unwrap();
    let loaded = load(&LoadArgs {
        file: Some(dir.path().join("my.toml")),
        environment: vec![
            ("POINTSMAN_ENV".into(), "staging".into()),
            ("POINTSMAN__MODELS__GPT_4O__WEIGHT".into(), "3".into()),
            ("POINTSMAN__ROUTING__MAX_CANDIDATES".into(), "2".into()),
        ],
        flags: vec![("--listen".into(), "server.listen".into(), "127.0.0.1:0".into())],
        ..args(&dir)
    })
    .unwrap();
    assert_eq!(loaded.config.server.max_connections, 1);
    assert_eq!(loaded.config.server.drain_s, 2);
    assert_eq!(loaded.config.limits.max_body_mb, 7);
    assert_eq!(loaded.config.routing.max_candidates, 2);
    assert_eq!(loaded.config.models["gpt-4o"].weight, 3.0);
    assert_eq!(loaded.config.server.listen.port(), 0);
    let origin = |path: &str| loaded.settings.iter().find(|s| s.path == path).unwrap().origin.to_string();
    assert_eq!(origin("server.listen"), "--listen");
    assert_eq!(origin("models.gpt-4o.weight"), "$POINTSMAN__MODELS__GPT_4O__WEIGHT");
    assert!(origin("server.drain_s").ends_with("my.toml"));
    assert_eq!(origin("server.data_dir"), "default");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let error = with_file("[server]\nlisten_adress = 1\n").unwrap_err().to_string();
    assert!(error.contains("server.listen_adress: unknown key; did you mean `listen`?"), "{error}");
    assert!(error.contains("my.toml"), "{error}");
    let error = with_file("[models.gpt-4o]\nwieght = 1\n").unwrap_err().to_string();
    assert!(error.contains("models.gpt-4o.wieght: unknown key; did you mean `weight`?"), "{error}");
    let error = with_file("[[rules]]\nname = 'x'\npin = 'gpt-4o'\nwhen = { keyword = ['a'] }\n").unwrap_err();
    assert!(error.to_string().contains("rules[0].when.keyword: unknown key; did you mean `keywords`?"), "{error}");
}

#[test]
fn a_name_with_a_dot_and_no_quotes_is_told_to_need_them() {
    for (text, path, name) in [
        ("[models.gpt-5.6-terra]\nweight = 0.0", "models.gpt-5.6-terra: unknown key; ", "gpt-5.6-terra"),
        ("[models.a.1.2]\nprovider = 'openai'", "models.a.1: unknown key; ", "a.1.2"),
        ("[models.'a.1'.2]\nprice = { input = 1.0 }", "models.\"a.1\".2: unknown key; ", "a.1.2"),
        ("[providers.acme.ai]\nbase_url = 'https://h'", "providers.acme.ai: unknown key; ", "acme.ai"),
        ("[aliases]\ngpt-4.1.2 = 'gpt-4o'", "aliases.gpt-4: is a table where one value is meant; ", "gpt-4.1.2"),
        (
            "[[rules]]\nname = 'r'\nweights = { gpt-5.6-terra = 2.0 }",
            "rules[0].weights.gpt-5: is a table where one value is meant; ",
            "gpt-5.6-terra",
        ),
    ] {
        let errors = with_file(text).unwrap_err().0;
        let told = format!("{path}TOML takes a dot for a step: a name that has one needs quotes, as in \"{name}\" (");
        assert!(errors.len() == 1 && errors[0].starts_with(&told), "{text}: {errors:?}");
    }
}

#[test]
fn keys_as_other_programs_call_them_are_told_what_they_are_called_here() {
    let key = "[providers.acme]\nbase_url = 'https://h'\napi_key = 'sk-SECRET'";
    for (text, hint) in [
        ("listen = '127.0.0.1:1'", "listen: unknown key; did you mean `server.listen` or `admin.listen`?"),
        ("[providers.acme]\nurl = 'https://h'", "providers.acme.url: unknown key; did you mean `base_url`?"),
        (key, "providers.acme.api_key: unknown key; put the key into .env, and the name it has there into `key_env`"),
    ] {
        let errors = with_file(text).unwrap_err().0;
        assert!(errors.len() == 1 && errors[0].starts_with(hint), "{text}: {errors:?}");
        assert!(!errors[0].contains("SECRET"));
    }
}

#[test]
fn a_value_of_the_wrong_kind_names_its_key() {
    let error = with_file("[dispatch]\nmax_attempts = 'many'\n").unwrap_err().to_string();
    assert!(error.starts_with("dispatch.max_attempts: "), "{error}");
}

#[test]
fn an_emptied_condition_is_refused_and_does_not_make_its_rule_hold_for_everything() {
    for (when, told) in [
        ("{ keywords = [] }", vec!["keywords"]),
        ("{ regex = [], min_tokens = 5 }", vec!["regex"]),
        ("{ token = [], task = [], has = [] }", vec!["has", "task", "token"]),
        ("{ language = [], script = [] }", vec!["language", "script"]),
        ("{ header = {}, tag = {} }", vec!["header", "tag"]),
    ] {
        let errors = with_file(&format!("[[rules]]\nname = 'r'\npin = 'gpt-4o'\nwhen = {when}")).unwrap_err().0;
        let mut keys: Vec<&str> = errors.iter().filter_map(|it| it.split(": is empty, ").next()).collect();
        keys.sort_unstable();
        let wanted: Vec<String> = told.iter().map(|key| format!("rules[0].when.{key}")).collect();
        assert_eq!(keys, wanted, "{errors:?}");
    }
    // A rule for every request has no condition.
    for always in ["", "when = {}"] {
        with_file(&format!("[[rules]]\nname = 'r'\nforbid = ['gpt-4o']\n{always}")).unwrap();
    }
}

#[test]
fn a_table_that_no_model_has_is_not_taken_for_the_end_of_its_name() {
    for text in [
        "[models.gpt-4o.cost]\ninput = 1.0",
        "[models.gpt-4o.extra]\nbody = { a = 1 }",
        "[providers.openai.tls.ca]\nfile = 'x'",
    ] {
        let error = with_file(text).unwrap_err().to_string();
        assert!(error.contains(": unknown key (") && !error.contains("quotes"), "{text}: {error}");
    }
}

#[test]
fn what_is_wrong_of_a_deployment_is_told_at_its_place() {
    let text = "[models.m]\nprovider = 'openai'\nupstream = 'm'\n[[models.m.deployments]]\nprovider = 'anthropic'\n\
                [[models.m.deployments]]\nprovider = 'opnai'\nweight = -1.0\n\
                [[models.m.deployments]]\nprovider = 'openai'\n";
    let errors = with_file(text).unwrap_err().0;
    for told in [
        "models.m.deployments[1].provider: there is no provider `opnai`; did you mean `openai`? (",
        "models.m.deployments[1].weight: must be from 0 to a million (",
        "models.m.deployments[2]: `openai/m` is listed twice: ",
    ] {
        let found = |line: &&String| line.starts_with(told) && line.ends_with("my.toml)");
        assert_eq!(errors.iter().filter(found).count(), 1, "{told} in {errors:#?}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_told_in_plain_words() {
    for (text, told) in [
        ("access.trusted_proxies = '10.0.0.1/32'", "string, expected a list as in [\"a\", \"b\"] ("),
        ("server.drain_s = -1", "integer, expected a whole number, 0 or more ("),
        ("limits.requests_per_minute = 1.5", "floating point, expected a whole number from 0 to 4294967295 ("),
        ("models.gpt-4o.price.input = 'dear'", "string, expected a number ("),
        ("models.gpt-4o.enabled = 'yes'", "string, expected true or false ("),
        ("models.gpt-4o.provider = ['openai']", "list, expected text in quotes ("),
        ("models.gpt-4o.price = 2.5", "floating point, expected a table ("),
        ("server.data_dir = 7", "integer, expected text in quotes ("),
        ("providers = 7", "integer, expected a table ("),
    ] {
        let errors = with_file(text).unwrap_err().0;
        assert!(errors.len() == 1 && errors[0].contains(&format!(": {told}")), "{text}: {errors:?}");
    }
    let errors = with_file("[rules]\nname = 'r'\npin = 'gpt-4o'").unwrap_err().0;
    let told = errors.len() == 1 && errors[0].starts_with("rules: is no list of tables: write [[rules]], ");
    assert!(told, "{errors:?}");
    for (text, path) in [
        ("limits = [1]", "limits"),
        ("dispatch.breaker = []", "dispatch.breaker"),
        ("[[models.gpt-4o]]\nweight = 2.0", "models.gpt-4o"),
        ("[[rules]]\nname = 'r'\npin = 'gpt-4o'\nwhen = []", "rules[0].when"),
    ] {
        let errors = with_file(text).unwrap_err().0;
        let told = format!("{path}: is a list where a table is meant, ");
        assert!(errors.len() == 1 && errors[0].starts_with(&told), "{text}: {errors:?}");
    }
}

#[test]
fn an_alias_may_leave_the_choice_to_the_gateway() {
    let text = "[aliases]\n'openrouter/auto' = 'auto'\ncheap = 'auto:cost'\nteam = 'cheap'\n";
    assert_eq!(with_file(text).unwrap().remarks, [""; 0]);
    let error = with_file("[aliases]\ncheap = 'auto:cheap'").unwrap_err().to_string();
    assert!(error.contains("aliases.cheap: there is no `auto:cheap`; use auto, auto:quality"), "{error}");
    for name in ["team", "cheap", "auto"] {
        let told = format!("`{name}` is no model: it leaves the choice to Pointsman; name a model");
        let error = with_file(&format!("{text}[[rules]]\nname = 'r'\npin = '{name}'\n")).unwrap_err().to_string();
        assert!(error.contains(&format!("rules[0]: {told}")), "{error}");
        let error = with_file(&format!("{text}[models.gpt-4o]\nlike = '{name}'\n")).unwrap_err().to_string();
        assert!(error.contains(&format!("models.gpt-4o.like: {told}")), "{error}");
    }
}

#[test]
fn rules_aliases_and_likenesses_take_every_name_that_a_client_could_ask_for() {
    for lists in [true, false] {
        for name in ["anthropic/claude-haiku-4-5", "openai/gpt-4o", "openai/gpt-4o-latest", "claude-opus-4-8[1m]"] {
            let text = format!(
                "[providers.ollama]\ndiscover = {lists}\n[aliases]\nteam = '{name}'\n[models.gpt-4o-mini]\nlike = '{name}'\n\
                 [[rules]]\nname = 'r'\nforbid = ['{name}']\n[[rules]]\nname = 's'\npin = '{name}'\n"
            );
            assert_eq!(with_file(&text).unwrap().remarks, [""; 0], "{name}");
        }
    }
}

#[test]
fn references_to_nothing_are_refused() {
    let error = with_file("[models.mine]\nprovider = 'opneai'\n").unwrap_err().to_string();
    assert!(error.contains("there is no provider `opneai`; did you mean `openai`?"), "{error}");
    let text = "[providers.ollama]\nenabled = false\n[aliases]\nbest = 'claude-opus-55'\n";
    let error = with_file(text).unwrap_err().to_string();
    assert!(error.contains("did you mean `claude-opus-5-5`?"), "{error}");
    let text = "[aliases]\nself = 'self'\nround = 'about'\nabout = 'round'\nto = 'round'\n";
    let error = with_file(text).unwrap_err().to_string();
    for told in [
        "aliases.self: leads back to itself: self -> self",
        "aliases.round: leads back to itself: round -> about -> round",
    ] {
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_model_of_ones_own_comes_before_an_alias_of_the_defaults() {
    let own = "[models.'claude-opus-4-8']\nprovider = 'anthropic'\n[models.small]\nprovider = 'openai'\n\
        upstream = 'gpt-5.4-nano'\n[aliases]\nclaude-sonnet-5 = 'gpt-4o'\n";
    let loaded = with_file(own).unwrap();
    let config = loaded.config;
    assert!(!config.aliases.contains_key("claude-opus-4-8"));
    assert!(!loaded.settings.iter().any(|setting| setting.path == "aliases.claude-opus-4-8"));
    assert_eq!(config.aliases["gpt-5.4-nano"], "small");
    assert_eq!(config.aliases["claude-sonnet-5"], "gpt-4o");
    assert_eq!(config.aliases["deepseek-chat"], "deepseek-flash", "which a model of the defaults is served under");
    assert!(!config.default_aliases.contains("claude-sonnet-5"));
    assert!(config.default_aliases.contains("claude-fable-5"));
    let both = "[models.mine]\nprovider = 'openai'\n[aliases]\nmine = 'gpt-4o'\n";
    let error = with_file(both).unwrap_err().to_string();
    assert!(error.starts_with("aliases.mine: there is a model of this name"), "{error}");
}

#[test]
fn what_coding_assistants_ask_for_by_themselves_leads_to_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let config = load(&args(&dir)).unwrap().config;
    for (name, model) in [
        ("claude-opus-4-8", "claude-opus-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-5-5"),
        ("gpt-6.2-sol", "gpt-6-sol"),
    ] {
        assert_eq!(config.aliases[name], model);
        assert!(config.models.contains_key(model), "{model}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let error = with_file("[dispatch]\nmax_attempts = 0\n[models.gpt-4o]\nweight = -1\n").unwrap_err();
    assert_eq!(error.0.len(), 2, "{error}");
}

#[test]
fn problems_of_all_kinds_and_layers_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.toml");
    let text = "
        [server]
        lisen = '127.0.0.1:1'
        drain_s = 'long'
        cors_origins = ['nonsense']
        [access]
        deny = ['10.0.0.1', '10.0.0.0/8', 'all']
        [dispatch]
        attempts_per_model = 0
        [providers.mine]
        dialect = 'native'
        base_url = 'mine'
        key_file = 'none'
        [models.'m.1']
        provider = 'mien'
        context = 'large'
        [[rules]]
        name = 7
        pin = 'gpt-4o'
        when = { has = ['code', 'tolls'], keyword = ['a'], regex = ['('] }";
    fs::write(&file, text).unwrap();
    let flag = |path: &str, value: &str| ("--set".to_owned(), path.to_owned(), value.to_owned());
    let flags = vec![flag("limits.max_in_flight", "0"), flag("admin.enabled", "maybe"), flag("a b", "1")];
    let environment = vec![("POINTSMAN__STORE__QEUE".to_owned(), "1".to_owned())];
    let errors = load(&LoadArgs { file: Some(file), flags, environment, ..args(&dir) }).unwrap_err().0;
    let wanted = [
        ("--set: `a b` is no key", ""),
        ("rules[0].when.keyword: unknown key; did you mean `keywords`?", "my.toml)"),
        ("server.lisen: unknown key; did you mean `listen`?", "my.toml)"),
        ("store.qeue: unknown key; did you mean `queue`?", "($POINTSMAN__STORE__QEUE)"),
        ("access.deny[0]: invalid IP address syntax: write a network", "my.toml)"),
        ("access.deny[2]: invalid IP address syntax: write a network", "my.toml)"),
        ("admin.enabled: invalid type: string, expected true or false", "(--set)"),
        ("models.\"m.1\".context: invalid type: string, expected a whole number from 0 to 4294967295", "my.toml)"),
        (
            "providers.mine.dialect: unknown variant `native`, expected one of `openai`, `anthropic`, `ollama`",
            "my.toml)",
        ),
        ("rules[0].name: invalid type: integer, expected text in quotes", "my.toml)"),
        ("rules[0].when.has[1]: unknown variant `tolls`", "my.toml)"),
        ("server.drain_s: invalid type: string, expected a whole number, 0 or more", "my.toml)"),
        ("providers.mine.base_url: must begin with http", "my.toml)"),
        ("models.\"m.1\".provider: there is no provider `mien`; did you mean `mine`?", "my.toml)"),
        ("rules[0].when.regex: `(`", "my.toml)"),
        ("limits.max_in_flight: must be more than 0", "(--set)"),
        ("dispatch.attempts_per_model: must be more than 0", "my.toml)"),
        ("server.cors_origins[0]: `nonsense` is no origin", "my.toml)"),
        ("providers.mine.key_file: ", ""),
    ];
    for (begins, ends) in wanted {
        let told = |line: &&String| line.starts_with(begins) && line.ends_with(ends);
        assert_eq!(errors.iter().filter(told).count(), 1, "{begins} {ends} in {errors:#?}");
    }
    assert_eq!(errors.len(), wanted.len(), "{errors:#?}");
}

#[test]
fn what_only_follows_from_a_problem_is_none() {
    for (text, problem) in [
        ("[models.m]\nprovder = 'openai'", "models.m.provder: unknown key; did you mean `provider`?"),
        ("[models.m]\nhost = 'openai'", "models.m.host: unknown key"),
        ("[models.m]\ndeployments = 'openai'", "models.m.deployments: is no list of tables"),
        ("[models.m]\ndeployments = [{ provider = 7 }]", "models.m.deployments[0].provider: invalid type"),
        ("[models.m]\ndeployments = [{ weight = 2.0 }]", "models.m.deployments[0]: missing field `provider`"),
        (
            "providers.ollama.discover = false\n[provider.p]\nbase_url = 'http://h'\n[models.m]\nprovider = 'p'",
            "provider: unknown key; did you mean",
        ),
        (
            "providers.ollama.discover = false\nmodels.m = 'gpt-4o'\n[[rules]]\nname = 'r'\npin = 'm'",
            "models.m: invalid type",
        ),
        ("[[rules]]\nname = 'r'\npin = 7", "rules[0].pin: invalid type"),
        ("[[rules]]\nname = 'r'\npins = 'gpt-4o'", "rules[0].pins: unknown key; did you mean `pin`?"),
        ("rules = [7, { name = 'r', pin = 'gpt-4o' }]", "rules[0]: invalid type"),
        ("routing.objectives.cost = { cost_per_usd = 'x' }", "routing.objectives.cost.cost_per_usd: invalid type"),
        ("[dispatch]\nbackoff_ms = 5000\nbackoff_max_ms = 'x'", "dispatch.backoff_max_ms: invalid type"),
        ("[dispatch]\nbackoff_ms = 5000\nbackoff_max_m = 9000", "dispatch.backoff_max_m: unknown key"),
        ("[providers]\nopenai = 'https://h'", "providers.openai: invalid type"),
        ("providers = 7", "providers: invalid type"),
    ] {
        let error = with_file(text).unwrap_err();
        assert!(error.0.len() == 1 && error.0[0].starts_with(problem), "{text}: {error}");
    }
}

#[test]
fn secrets_that_cannot_be_read_are_told_together() {
    let text = "[providers.openai]\nkey_file = 'a'\n[providers.anthropic]\nkey_file = 'b'\n\
        [admin]\npassword_file = 'c'\n[classifier.hub]\ntoken_file = 'd'";
    assert_eq!(with_file(text).unwrap_err().0.len(), 4);
}

#[test]
fn a_fault_is_told_of_the_key_and_the_file_that_have_it() {
    for (text, key) in [
        ("dispatch.retry_budget.ratio = -1.0", "dispatch.retry_budget.ratio"),
        ("dispatch.retry_budget.min_per_s = nan", "dispatch.retry_budget.min_per_s"),
        ("routing.objectives.speed.latency_per_s = inf", "routing.objectives.speed.latency_per_s"),
        ("routing.objectives.quality.cost_per_usd = 1e9", "routing.objectives.quality.cost_per_usd"),
        ("providers.openai.base_url = 'http://[::1]:99999/v1'", "providers.openai.base_url"),
        ("providers.openai.base_url = 'http://h/v1#x'", "providers.openai.base_url"),
        ("models.gpt-4o.max_output = 0", "models.gpt-4o.max_output"),
        ("models.gpt-4o.price.output = -1.0", "models.gpt-4o.price.output"),
        (
            "models.gpt-4o.price.long_prompt = { above = 9, input_factor = 0.0, output_factor = 1.0 }",
            "models.gpt-4o.price.long_prompt.input_factor",
        ),
        ("dispatch.backoff_max_ms = 50", "dispatch.backoff_max_ms"),
        ("dispatch.backoff_ms = 5000", "dispatch.backoff_ms"),
    ] {
        let error = with_file(text).unwrap_err();
        let line = &error.0[0];
        assert!(error.0.len() == 1 && line.starts_with(&format!("{key}: ")) && line.ends_with("my.toml)"), "{error}");
    }
}

#[test]
fn keys_come_from_the_environment_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let loaded =
        load(&LoadArgs { environment: vec![("OPENAI_API_KEY".into(), "sk-very-secret".into())], ..args(&dir) })
            .unwrap();
    let key = loaded.config.providers["openai"].key.as_ref().unwrap();
    assert_eq!(key.expose_secret(), "sk-very-secret");
    assert!(loaded.config.providers["anthropic"].key.is_none());
    let shown =
        format!("{:?} {:?} {}", loaded.config, loaded.settings, serde_json::to_string(&loaded.config).unwrap());
    assert!(!shown.contains("very-secret"));
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let error = with_file("[server]\nlisten = \n").unwrap_err().to_string();
    assert!(error.contains("my.toml:"), "{error}");
}

#[test]
fn a_model_has_a_place_but_once() {
    let places = |more: &str| {
        let text = format!("[models.m]\nprovider = 'openai'\ndeployments = [{{ provider = 'openai'{more} }}]");
        with_file(&text).map(|_| ()).map_err(|errors| errors.to_string())
    };
    let error = places("").unwrap_err();
    assert!(error.contains("models.m.deployments[0]: `openai/m` is listed twice"), "{error}");
    assert_eq!(places(", upstream = 'other'"), Ok(()));
}

#[test]
fn a_key_in_a_file_is_read_and_its_file_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.toml");
    fs::write(&file, "[providers.openai]\nkey_file = 'key'").unwrap();
    fs::write(dir.path().join("key"), "sk-1\n").unwrap();
    let loaded = load(&LoadArgs { file: Some(file), ..args(&dir) }).unwrap();
    assert_eq!(loaded.config.providers["openai"].key.as_ref().unwrap().expose_secret(), "sk-1");
    let key = loaded.files.iter().find(|file| file.path == dir.path().join("key")).unwrap();
    assert_eq!(key.again(), *key);
    fs::write(&key.path, "sk-another\n").unwrap();
    assert_ne!(key.again(), *key, "what is written after it was read is seen");
}

#[test]
fn values_of_a_form_of_their_own_are_looked_at() {
    let refused = |text: &str| with_file(text).map(|_| ()).unwrap_err().to_string();
    for (text, key) in [
        ("[server]\ncors_origins = ['https://x.example/']", "server.cors_origins[0]: "),
        ("[server]\ncors_origins = ['https://a.example', 'https://Y.example']", "server.cors_origins[1]: "),
        ("[server]\ncors_origins = ['nonsense']", "server.cors_origins[0]: "),
        ("[server]\ncors_origins = ['http://localhost:*']", "server.cors_origins[0]: "),
        ("[server]\ncors_origins = ['https://*.x.example']", "server.cors_origins[0]: "),
        ("[admin]\nlisten = '127.0.0.1:3100'", "admin.listen: 127.0.0.1:3100 is taken by server.listen = "),
        ("[server]\nlisten = '0.0.0.0:3200'", "admin.listen: 127.0.0.1:3200 is taken by server.listen = "),
        ("[admin]\nlisten = '[::]:3100'", "admin.listen: [::]:3100 is taken by server.listen = 127.0.0.1:3100"),
        ("[telemetry]\notlp_endpoint = 'not a url'", "telemetry.otlp_endpoint: "),
        ("[providers.openai]\nbase_url = 'https://h/v1?api-version=1'", "providers.openai.base_url: "),
        ("[routing]\nobjective = { cost_per_usd = -5.0, latency_per_s = 0.0 }", "routing.objective: "),
        ("[routing]\nobjective = { cost_per_usd = 1.0, latency_per_s = nan }", "routing.objective: "),
        ("[routing]\nobjective = { cost_per_usd = 1e9, latency_per_s = 0.0 }", "routing.objective: "),
        ("[learning.bandit]\nfloor = 5.0", "learning.bandit.floor: "),
        ("[learning.bandit]\nhalf_life = -1.0", "learning.bandit.half_life: "),
        (
            "[[rules]]\nname = 'r'\nexplore = false\nwhen = { min_tokens = 10, max_tokens = 5 }",
            "rules[0].when.min_tokens: ",
        ),
        (
            "[[rules]]\nname = 'r'\nexplore = false\nwhen = { header = { 'bad header' = '*' } }",
            "rules[0].when.header.",
        ),
        ("[[rules]]\nname = 'r'\nexplore = false\nwhen = { keywords = ['a', ''] }", "rules[0].when.keywords: "),
        ("[[rules]]\nname = 'r'\nexplore = false\nwhen = { regex = ['a', '('] }", "rules[0].when.regex: `(`: "),
        ("[providers.ollama]\nenabled = false\n[models.gpt-4o]\nlike = 'no-such'", "models.gpt-4o.like: "),
        ("[access]\ndeny = ['10.0.0.1']", "access.deny[0]: "),
        ("[server]\ndata_dir = ''", "server.data_dir: "),
        ("[models.gpt-4o]\nupstream = ''", "models.gpt-4o.upstream: "),
        ("[models.gpt-4o]\nprice = { input = 1e308 }", "models.gpt-4o.price.input: "),
        ("[models.gpt-4o]\nweight = 1e7", "models.gpt-4o.weight: "),
        ("[classifier.hub]\nendpoint = 'banana'", "classifier.hub.endpoint: "),
        ("[server]\nlisten = 'localhost:3100'", "server.listen: "),
    ] {
        let error = refused(text);
        assert!(error.contains(key), "{text}: {error}");
    }
    assert!(refused("[access]\ndeny = ['10.0.0.1']").contains("10.0.0.1/32"));
    assert!(refused("[server]\nlisten = 'localhost:3100'").contains("127.0.0.1:3100"));
    with_file("[server]\ncors_origins = ['https://x.example:8443', 'http://[::1]:3000', '*']").unwrap();
}

#[test]
fn a_base_url_that_goes_on_into_an_endpoint_is_refused_and_the_right_one_told() {
    for (provider, url, right) in [
        ("openai", "https://h/v1/chat/completions", "https://h/v1"),
        ("anthropic", "https://h/proxy/v1/messages/", "https://h/proxy"),
        ("ollama", "http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434"),
    ] {
        let errors = with_file(&format!("[providers.{provider}]\nbase_url = '{url}'")).unwrap_err().0;
        let begins = format!("providers.{provider}.base_url: must not end with /");
        let told =
            errors.len() == 1 && errors[0].starts_with(&begins) && errors[0].contains(&format!("write {right} ("));
        assert!(told, "{url}: {errors:?}");
    }
    // A proxy may have these: a stage `v1`, say, or Ollama behind `/api`.
    for (provider, url, likely) in [
        ("openai", "https://h/v1/responses/", Some("https://h/v1")),
        ("anthropic", "https://h/v1", Some("https://h")),
        ("ollama", "http://127.0.0.1:11434/v1", Some("http://127.0.0.1:11434")),
        ("ollama", "http://127.0.0.1:11434/api/", Some("http://127.0.0.1:11434")),
        ("openai", "https://h/v1/", None),
        ("openai", "https://h/models", None),
        ("anthropic", "https://h/anthropic", None),
        ("ollama", "https://h/ollama", None),
    ] {
        let remarks = with_file(&format!("[providers.{provider}]\nbase_url = '{url}'")).unwrap().remarks;
        let told = remarks.iter().find(|remark| remark.starts_with(&format!("providers.{provider}.base_url: ")));
        let ends = likely.map(|likely| format!(", write {likely}"));
        assert_eq!(told.is_some(), ends.is_some(), "{url}: {remarks:?}");
        assert!(told.zip(ends).is_none_or(|(told, ends)| told.ends_with(&ends)), "{url}: {remarks:?}");
    }
}

#[test]
fn a_vendors_model_without_a_price_is_remarked_upon() {
    let text = "
        [providers.far]
        base_url = 'https://llm.example/v1'
        [providers.near]
        base_url = 'http://127.0.0.1:8000/v1'
        [models.forgotten]
        provider = 'far'
        [models.priced]
        provider = 'far'
        price = { input = 1.0, output = 2.0 }
        [models.own]
        provider = 'near'";
    let remarks = with_file(text).unwrap().remarks;
    assert!(remarks.len() == 1 && remarks[0].starts_with("models.forgotten.price: "), "{remarks:?}");
}

#[test]
fn a_name_that_no_model_has_is_remarked_upon_where_a_server_may_list_it() {
    let text = "[aliases]\nfast = 'gpt-4o-minni'\n[[rules]]\nname = 'r'\nforbid = ['claude-opus-5.5', 'gpt-4o', 'openai/gpt-4o']";
    let remarks = with_file(text).unwrap().remarks;
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(
        remarks[0].starts_with("aliases.fast: ") && remarks[0].ends_with("did you mean `gpt-4o-mini`?"),
        "{remarks:?}"
    );
    assert!(
        remarks[1].starts_with("rules[0]: ") && remarks[1].ends_with("did you mean `claude-opus-5-5`?"),
        "{remarks:?}"
    );
}

#[test]
fn a_pin_that_a_default_alias_may_lead_to_a_vendor_is_remarked_upon() {
    let text = "[[rules]]\nname = 'r'\npin = 'claude-haiku-4-5'\n[[rules]]\nname = 's'\npin = 'claude-haiku-5-5'";
    let remarks = with_file(text).unwrap().remarks;
    let wanted = "rules[0].pin: `claude-haiku-4-5` is a default alias, which means `claude-haiku-5-5` while";
    assert!(remarks.len() == 1 && remarks[0].starts_with(wanted), "{remarks:?}");
    let text = format!("{text}\n[providers.ollama]\ndiscover = false");
    assert_eq!(with_file(&text).unwrap().remarks, [""; 0]);
}

#[test]
fn a_variable_with_one_underscore_too_few_is_remarked_upon() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["POINTSMAN_SERVER_LISTEN", "POINTSMAN_SERVER__DRAIN_S", "POINTSMAN_ADMIN_PASSWORD", "SERVER_LISTEN"];
    let environment = names.map(|name| (name.to_owned(), "127.0.0.1:1".to_owned())).to_vec();
    let remarks = load(&LoadArgs { environment, ..args(&dir) }).unwrap().remarks;
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(remarks[0].contains("POINTSMAN_SERVER_LISTEN ") && remarks[0].contains("POINTSMAN__SERVER__LISTEN?"));
    assert!(remarks[1].contains("POINTSMAN__SERVER__DRAIN_S?"), "{remarks:?}");
}

#[test]
fn variables_are_taken_for_what_stands_at_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = vec![
        variable("POINTSMAN__ADMIN__USER", "123"),
        variable("POINTSMAN__ACCESS__DENY", "10.0.0.0/8, 192.0.2.0/24"),
        variable("POINTSMAN__SERVER__DRAIN_S", "7"),
    ];
    let empty = vec![variable("POINTSMAN__ACCESS__ALLOW", " ,")];
    let refused = load(&LoadArgs { environment: empty, ..args(&dir) }).unwrap_err().to_string();
    assert!(refused.starts_with("access.allow: "), "an unset variable opens nothing: {refused}");
    let config = load(&LoadArgs { environment, ..args(&dir) }).unwrap().config;
    assert_eq!((config.admin.user.as_str(), config.access.deny.len(), config.server.drain_s), ("123", 2, 7));
}

#[test]
fn with_the_sandbox_nobody_else_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.toml");
    let text = "[providers.acme]\nbase_url = 'https://acme.example/v1'\nkey_file = 'none'\n\
        [providers.off]\nbase_url = 'https://off.example/v1'\nenabled = false\n\
        [providers.stand-in]\nbase_url = 'http://127.0.0.1:9/v1'";
    fs::write(&file, text).unwrap();
    let played = "[providers.openai]\nbase_url = 'http://127.0.0.1:9/openai/v1'\nkey_env = 'SANDBOX'";
    let (sandbox, environment) = (Some(played.to_owned()), vec![("SANDBOX".to_owned(), "key".to_owned())]);
    let config = load(&LoadArgs { file: Some(file), sandbox, environment, ..args(&dir) }).unwrap().config;
    let enabled = |name: &str| config.providers[name].enabled;
    assert!(enabled("openai") && enabled("stand-in"));
    assert!(!enabled("off"), "nor does it call whom the operator disabled");
    assert!(!enabled("anthropic"), "nobody here speaks its dialect");
    let acme = &config.providers["acme"];
    assert_eq!(acme.base_url, "http://127.0.0.1:9/openai/v1");
    assert!(acme.enabled && acme.key.is_some(), "whose dialect is played is played, too");
}

#[test]
fn no_error_tells_a_key_that_stands_in_the_wrong_place() {
    for slip in [
        "[providers.openai]\nkey_env = 'sk-proj-SECRET123'",
        "[providers.openai]\nkey_env = 'gsk_SECRETSECRETsecret123'",
        "[providers.openai]\nheaders = 'Bearer sk-SECRET123'",
        "[providers.openai]\nquirks = 'sk-SECRET123'",
        "[providers.openai]\nheaders = { x-key = ['SECRET'] }",
        "[providers]\nopenai = 'sk-SECRET123'",
        "providers = 'sk-SECRET123'",
        "[classifier.hub]\ntoken_env = 'hf-SECRET'",
        "[admin]\npassword_env = 'my SECRET'",
        "[admin]\nsession_hours = 'SECRET'",
    ] {
        let error = with_file(slip).unwrap_err().to_string();
        assert!(!error.contains("SECRET") && error.contains("my.toml"), "{error}");
    }
    let error = with_file("[providers.openai]\nkey_env = 'sk-proj-SECRET123'").unwrap_err().to_string();
    assert!(error.starts_with("providers.openai.key_env: is no name of a variable; put a key itself"), "{error}");
}

#[test]
fn what_is_shown_holds_no_credential_of_a_url() {
    let text =
        "[telemetry]\notlp_endpoint = 'https://user:SECRET@h'\n[classifier.hub]\nendpoint = 'https://h?key=SECRET'";
    let loaded = with_file(text).unwrap();
    assert!(!format!("{:?}", loaded.settings).contains("SECRET"));
    assert_eq!(loaded.config.telemetry.otlp_endpoint.as_deref(), Some("https://user:SECRET@h"), "and is used");
}

#[test]
fn a_dollar_in_dotenv_is_refused_or_kept() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".env"), "POINTSMAN__ADMIN__USER=ro$t\n").unwrap();
    let error = load(&args(&dir)).unwrap_err().to_string();
    assert!(error.contains(".env:1: holds a `$`") && error.contains("single quotes"), "{error}");
    fs::write(dir.path().join(".env"), "POINTSMAN__ADMIN__USER='ro$t'\n").unwrap();
    assert_eq!(load(&args(&dir)).unwrap().config.admin.user, "ro$t");
}
