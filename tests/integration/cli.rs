//! The binary as a person types it.

use std::process::{Command, Output};

fn pointsman(dir: &std::path::Path, args: &[&str]) -> Output {
    pointsman_with(dir, args, ("PATH", &std::env::var("PATH").unwrap_or_default()))
}

fn pointsman_with(dir: &std::path::Path, args: &[&str], (name, value): (&str, &str)) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env(name, value)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn exit_codes_tell_failed_from_wrongly_used() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(pointsman(dir.path(), &["--help"]).status.code(), Some(0));
    let help = stdout(&pointsman(dir.path(), &["evaluate", "--help"]));
    assert!(help.contains("model:NAME") && help.contains("inverse_gap"), "policies have names: {help}");
    assert_eq!(pointsman(dir.path(), &["fly"]).status.code(), Some(2));
    assert_eq!(pointsman(dir.path(), &["config", "check"]).status.code(), Some(0));
    let wrong = pointsman(dir.path(), &["config", "check", "--set", "server.lisen=1"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("did you mean `listen`?"), "{}", stderr(&wrong));
    for wrongly_used in [
        &["config", "check", "--set", "foo"][..],
        &["config", "check", "--set", "=x"],
        &["demo", "--minutes", "0"],
        &["train"],
    ] {
        assert_eq!(pointsman(dir.path(), wrongly_used).status.code(), Some(2), "{wrongly_used:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["config", "print"][..], &["models", "list"], &["completions", "bash"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(args)
            .current_dir(dir.path())
            .stdout(full)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let said = stderr(&ended);
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("pointsman: standard output cannot be written: No space left"), "{args:?}: {said}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_listing_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let mut listing = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["config", "print"])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(listing.stdout.take());
    let ended = listing.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), stderr(&ended).as_str()), (None, ""), "a signal, and no panic");
}

#[test]
fn a_check_remarks_on_likely_slips() {
    let dir = tempfile::tempdir().unwrap();
    let alias = ["--set", "aliases.fast='gpt-4o-minii'"];
    let slips = ["--set", "classifier.model=hf:foo", "--set", "classifier.head=no.safetensors"];
    let checked = pointsman(dir.path(), &[&["config", "check"], &alias[..], &slips].concat());
    assert_eq!(checked.status.code(), Some(0));
    for remark in ["did you mean `gpt-4o-mini`?", "classifier.model: ", "classifier.head: "] {
        assert!(stderr(&checked).contains(remark), "{remark}: {}", stderr(&checked));
    }
    // What would keep the gateway from starting, or from telling anything.
    for wrong in ["telemetry.log=infoo", "telemetry.log=info pointsman=debug", "telemetry.log=zzz=qq"] {
        for command in [&["config", "check"][..], &["serve"]] {
            let told = pointsman(dir.path(), &[command, &["--set", wrong]].concat());
            assert_eq!(told.status.code(), Some(1), "{wrong} {command:?}");
            assert!(stderr(&told).contains("telemetry.log: "), "{wrong} {command:?}: {}", stderr(&told));
        }
    }
}

#[test]
fn config_print_says_who_set_what() {
    let dir = tempfile::tempdir().unwrap();
    let printed = pointsman(dir.path(), &["config", "print", "--changed", "--set", "limits.max_in_flight=9"]);
    assert_eq!(stdout(&printed), "limits.max_in_flight = 9  # --set\n");
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let made = pointsman(dir.path(), &["token", "new", "ci", "--scopes", "chat"]);
    let text = stdout(&made);
    assert!(text.starts_with("pm_") && text.trim().len() == 43, "{text}");
    assert!(stdout(&pointsman(dir.path(), &["token", "list"])).contains("ci"));
    let alone = ["--set", "providers.ollama.discover=false"];
    let known = ["token", "new", "one", "--models", "claude-sonnet"];
    assert!(pointsman(dir.path(), &[&known[..], &alone].concat()).status.success());
    let placed = ["token", "new", "placed", "--models", "anthropic/claude-sonnet"];
    assert!(pointsman(dir.path(), &[&placed[..], &alone].concat()).status.success());
    for name in ["auto", "auto:cost", "ours"] {
        let choice = ["token", "new", "choice", "--models", name, "--set", "aliases.ours=auto"];
        let told = stderr(&pointsman(dir.path(), &choice));
        let why = format!("`{name}` is no model: it chooses among those that a token opens");
        assert!(told.contains(&why), "{told}");
    }
    let unknown = ["token", "new", "two", "--models", "claude-sonet"];
    let refused = pointsman(dir.path(), &[&unknown[..], &alone].concat());
    let hint = "; did you mean `claude-sonnet`?";
    assert!(stderr(&refused).contains(&format!("there is no model `claude-sonet`{hint}")), "{}", stderr(&refused));
    let remarked = stderr(&pointsman(dir.path(), &unknown));
    assert!(
        remarked
            .contains(&format!("`claude-sonet` is configured: the token may use it once a server lists it{hint}"))
    );
    let file = std::fs::read_to_string(dir.path().join("var/tokens.json")).unwrap();
    assert!(!file.contains(text.trim()));
    assert!(pointsman(dir.path(), &["token", "revoke", "ci"]).status.success());
    assert_eq!(pointsman(dir.path(), &["token", "revoke", "ci"]).status.code(), Some(1));
}

#[test]
fn a_dry_run_without_any_key_says_which_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let run = pointsman(dir.path(), &["route", "hello", "--set", "providers.ollama.enabled=false"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(stderr(&run).contains("set ANTHROPIC_API_KEY"), "{}", stderr(&run));
}

/// A Llama of two layers, as safetensors.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/encoder/tiny");

#[test]
fn a_head_is_judged_on_its_own_encoder_alone() {
    let dir = tempfile::tempdir().unwrap();
    let line =
        r#"{"id": "1", "source": "made", "prompt": "hello", "outcomes": {"a": {"score": 1}, "b": {"score": 0}}}"#;
    std::fs::write(dir.path().join("data.jsonl"), line).unwrap();
    let head = concat!(env!("CARGO_MANIFEST_DIR"), "/models/builtin/head.safetensors");
    for head in ["builtin", head] {
        let run = pointsman(dir.path(), &["evaluate", "--data", "data.jsonl", "--model", TINY, "--head", head]);
        assert_eq!((run.status.code(), stdout(&run).as_str()), (Some(1), ""), "{head}: {}", stderr(&run));
    }
    let run = pointsman(dir.path(), &["evaluate", "--data", "data.jsonl", "--model", TINY, "--head", head]);
    assert!(stderr(&run).contains("it is for the encoder") && stderr(&run).contains("--model"), "{}", stderr(&run));
    std::fs::write(dir.path().join("bad.bin"), "This is no head.").unwrap();
    let run = pointsman(dir.path(), &["evaluate", "--data", "data.jsonl", "--model", TINY, "--head", "bad.bin"]);
    assert!(stderr(&run).contains("bad.bin: the head cannot be used"), "{}", stderr(&run));
}

#[test]
fn a_recipe_that_does_not_suit_the_encoder_is_refused_before_data_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("deep.toml"), "[pooling]\nlayers = [4]\nmean = true\nlast = false").unwrap();
    let train = ["train", "--data", "absent", "--out", "out", "--model", TINY];
    let deep = pointsman(dir.path(), &[&train[..], &["--recipe", "deep.toml"]].concat());
    assert!(stderr(&deep).contains("[4], and the encoder has 2: `[pooling] layers`"), "{}", stderr(&deep));
    // Without a recipe it is read as deep as it is.
    let plain = pointsman(dir.path(), &train);
    assert!(stderr(&plain).contains("absent"), "{}", stderr(&plain));
}

#[test]
fn models_verify_goes_by_the_manifest_above() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    for entry in std::fs::read_dir(TINY).unwrap().flatten() {
        std::fs::copy(entry.path(), own.join(entry.file_name())).unwrap();
    }
    let verify = || pointsman(dir.path(), &["models", "verify", "own"]);
    let nothing = stdout(&verify());
    assert!(nothing.contains("No hash"), "{nothing}");
    let sha256 = nothing.lines().find_map(|line| line.strip_suffix("  own/config.json")).unwrap();
    let manifest = |sha256: &str| {
        let entry = format!("file = 'own/config.json'\nkind = 'encoder'\nsha256 = '{sha256}'\nbytes = 1\n");
        let rest = "license = 'not stated'\nbase = 'made'\nrecipe = ''\n";
        std::fs::write(dir.path().join("manifest.toml"), format!("[[artifact]]\n{entry}{rest}")).unwrap();
    };
    manifest(sha256);
    assert!(stdout(&verify()).contains("One file has the right hash"), "{}", stderr(&verify()));
    manifest("0000");
    assert_eq!(verify().status.code(), Some(1));
    assert!(stderr(&verify()).contains("manifest.toml says"), "{}", stderr(&verify()));
    std::fs::write(dir.path().join("manifest.toml"), "someone = 'else'").unwrap();
    assert!(stdout(&verify()).contains("No hash"), "{}", stderr(&verify()));
}

#[test]
fn a_floor_that_is_cut_off_is_remarked() {
    let dir = tempfile::tempdir().unwrap();
    for (floor, is_cut) in [("0.3", true), ("0.0001", false)] {
        let run = pointsman(dir.path(), &["config", "check", "--set", &format!("learning.bandit.floor={floor}")]);
        assert!(run.status.success());
        assert_eq!(stderr(&run).contains("learning.bandit.floor: "), is_cut, "{}", stderr(&run));
    }
}

#[test]
fn what_comes_of_a_file_a_model_is_told_and_a_packed_log_as_well() {
    let dir = tempfile::tempdir().unwrap();
    for model in ["a", "b"] {
        let row = format!("{{\"prompt\":\"p\",\"model\":\"{model}\",\"score\":1}}\n");
        std::fs::write(dir.path().join(format!("{model}.jsonl")), row).unwrap();
    }
    let import = |more: &[&str]| {
        stdout(&pointsman(dir.path(), &[&["import", "a.jsonl", "b.jsonl", "--dataset"], more].concat()))
    };
    assert!(import(&["one"]).contains("nothing to compare"));
    assert!(!import(&["two", "--source", "both"]).contains("nothing to compare"));
    let missing = pointsman(dir.path(), &["import", "none.jsonl"]);
    assert!(stderr(&missing).contains("none.jsonl: No such file"), "{}", stderr(&missing));
    assert!(!stderr(&missing).contains("--dataset"), "{}", stderr(&missing));
    let foreign = pointsman(dir.path(), &["import", "a.jsonl"]);
    let (what, cure) = (stderr(&foreign).find("a.jsonl, line 1"), stderr(&foreign).find("--dataset DIR"));
    assert!(what.is_some() && what < cure, "{}", stderr(&foreign));
    std::fs::write(dir.path().join("empty.jsonl"), "").unwrap();
    let unwritable = pointsman(dir.path(), &["import", "empty.jsonl", "--set", "server.data_dir='/proc/none'"]);
    assert!(stderr(&unwritable).contains("/proc/none cannot be written: "), "{}", stderr(&unwritable));
    let packed = pointsman(dir.path(), &["import", "log.jsonl.gz"]);
    assert!(stderr(&packed).contains("unpack"), "{}", stderr(&packed));
}

#[test]
fn models_verify_takes_a_head_and_the_one_that_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let head = concat!(env!("CARGO_MANIFEST_DIR"), "/models/builtin/head.safetensors");
    std::fs::copy(head, dir.path().join("own.safetensors")).unwrap();
    let own = ["models", "verify", "own.safetensors"];
    let verified = pointsman(dir.path(), &own);
    assert!(stdout(&verified).contains("and the head is for it"), "{}", stderr(&verified));
    let model = format!("classifier.model='{TINY}'");
    let beside_another = pointsman(dir.path(), &[&own[..], &["--set", &model]].concat());
    assert!(stderr(&beside_another).contains("it is for the encoder"), "{}", stderr(&beside_another));
    for set in ["classifier.head='/nowhere/own.safetensors'", "classifier.model='/nowhere/own.gguf'"] {
        let verified = pointsman(dir.path(), &["models", "verify", "--set", set]);
        assert_eq!(verified.status.code(), Some(1));
        assert!(stderr(&verified).contains("/nowhere/own"), "{}", stderr(&verified));
        let checked = pointsman(dir.path(), &["config", "check", "--set", set]);
        assert!(stderr(&checked).contains("/nowhere/own") && checked.status.success(), "{}", stderr(&checked));
    }
    let listed = pointsman(dir.path(), &["models", "list", "--set", "classifier.head='/nowhere/own.safetensors'"]);
    assert!(stdout(&listed).contains("there is no such file"), "{}", stdout(&listed));
}

#[test]
fn evaluate_takes_a_data_set_or_a_policy() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(pointsman(dir.path(), &["evaluate"]).status.code(), Some(2));
    assert_eq!(pointsman(dir.path(), &["evaluate", "--data", ".", "--policy", "live"]).status.code(), Some(2));
    let run = pointsman(dir.path(), &["evaluate", "--policy", "live", "--against", "uniform"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(stderr(&run).contains("--log FILE"), "{}", stderr(&run));
}

#[test]
fn a_check_says_what_the_start_would_refuse_or_could_not_use() {
    let dir = tempfile::tempdir().unwrap();
    let check = |what: &str| pointsman(dir.path(), &["config", "check", "--set", what]);
    std::fs::write(dir.path().join("password"), "plain\n").unwrap();
    let refused = check("admin.password_file='password'");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("admin.password_file holds no argon2 hash"), "{}", stderr(&refused));
    let remarked = check("classifier.head='password'");
    assert_eq!(remarked.status.code(), Some(0));
    let said = stderr(&remarked);
    assert!(
        said.contains("classifier.head: the head cannot be used: ") && said.contains("no prompt will be"),
        "{said}"
    );
    let said = stderr(&check("access.allow=['10.0.0.0/8']"));
    assert!(said.contains("Remark: access.allow: ") && said.contains("without 127.0.0.1 "), "{said}");
    for open in ["access.allow=['10.0.0.0/8', '127.0.0.0/8']", "access.allow=[]"] {
        assert!(stderr(&check(open)).is_empty(), "{open}: {}", stderr(&check(open)));
    }
}

#[test]
fn a_start_that_fails_says_once_what_is_wrong_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let serve = |what: &str| pointsman(dir.path(), &["serve", "--sandbox", "--set", what]);
    for key in ["server.listen", "admin.listen"] {
        let other = if key == "admin.listen" { "server.listen" } else { "admin.listen" };
        let (wanted, free) = (format!("{key}='{address}'"), format!("{other}='127.0.0.1:0'"));
        let failed = pointsman(dir.path(), &["serve", "--sandbox", "--set", &wanted, "--set", &free]);
        assert_eq!(failed.status.code(), Some(1));
        let said = stderr(&failed);
        let why =
            format!("{key} = {address}: Address already in use (os error 98); stop what listens there, or choose");
        assert!(said.contains(&why) && said.matches("already in use").count() == 1, "{said}");
    }
    // Another gateway's log is noticed before the address is listened to: a client would only be cut off.
    let settings = pointsman::config::Store::default();
    let held = pointsman::store::Store::open(&dir.path().join("var/sandbox"), &settings, 0).unwrap();
    let failed = serve(&format!("server.listen='{address}'"));
    let said = stderr(&failed);
    assert!(said.contains("is in use by another pointsman process") && !said.contains("Address"), "{said}");
    drop(held);
    let failed = serve("server.listen='192.0.2.1:0'");
    assert!(stderr(&failed).contains("no API token"), "{}", stderr(&failed));

    let key = pointsman_with(dir.path(), &["config", "check"], ("OPENAI_API_KEY", "sk-a\nb"));
    assert_eq!(key.status.code(), Some(1));
    let said = stderr(&key);
    assert!(said.contains("providers.openai.key_env: OPENAI_API_KEY holds a line break"), "{said}");
    assert!(!said.contains("sk-a"), "{said}");
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_where_its_name_begins_with_ours() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str| {
        Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["config", "check"])
            .current_dir(dir.path())
            .env_clear()
            .env(name, std::ffi::OsStr::from_bytes(b"secret\xff"))
            .output()
            .unwrap()
    };
    let refused = check("POINTSMAN__SERVER__DATA_DIR");
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("$POINTSMAN__SERVER__DATA_DIR is not UTF-8") && !said.contains("secret"), "{said}");
    assert!(check("LESS").status.success());
}

#[test]
fn what_cannot_be_said_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["config", "check", "--set", "server.lisen=1"])
        .current_dir(dir.path())
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn what_is_imported_counts_towards_the_logs_size() {
    let dir = tempfile::tempdir().unwrap();
    let settings = pointsman::config::Store::default();
    let open = || pointsman::store::Store::open(&dir.path().join("var"), &settings, 0).unwrap().0;
    open().save_log_size().unwrap();
    let id = uuid::Uuid::now_v7();
    let entry = serde_json::json!({ "decision": { "id": id, "at_ms": 1, "chosen": "a", "request": {} } });
    std::fs::write(dir.path().join("log.jsonl"), format!("{entry}\n")).unwrap();
    let run = pointsman(dir.path(), &["import", "log.jsonl"]);
    assert!(stdout(&run).contains("1 entries imported"), "{}{}", stdout(&run), stderr(&run));
    let size = open().log_size().bytes;
    assert!(size > 0);
    // Also what comes before an error.
    let other = entry.to_string().replace(&id.to_string(), &uuid::Uuid::now_v7().to_string());
    std::fs::write(dir.path().join("log.jsonl"), format!("{other}\nno entry\n{entry}\n")).unwrap();
    let run = pointsman(dir.path(), &["import", "log.jsonl"]);
    assert_eq!(run.status.code(), Some(1), "{}{}", stdout(&run), stderr(&run));
    assert!(open().log_size().bytes > size, "{}", stderr(&run));
}

#[test]
fn what_root_imports_is_the_services_also_where_it_fails() {
    use std::os::unix::fs::{MetadataExt, chown};
    let dir = tempfile::tempdir().unwrap();
    if dir.path().metadata().unwrap().uid() != 0 {
        // Nobody else can give files away, nor makes any that need it.
        return;
    }
    let data = dir.path().join("var");
    std::fs::create_dir(&data).unwrap();
    chown(&data, Some(65534), Some(65534)).unwrap();
    let entry = || serde_json::json!({ "decision": { "id": uuid::Uuid::now_v7(), "at_ms": 1, "chosen": "a", "request": {} } });
    std::fs::write(dir.path().join("log.jsonl"), format!("{}\n{}\n{{\n", entry(), entry())).unwrap();
    let others = || {
        let mut folders = vec![data.clone()];
        let mut others = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap().flatten() {
                let found = entry.metadata().unwrap();
                folders.extend(found.is_dir().then(|| entry.path()));
                others.extend((found.uid() != 65534).then(|| entry.path()));
            }
        }
        others
    };
    let failed = pointsman(dir.path(), &["import", "log.jsonl"]);
    assert_eq!(failed.status.code(), Some(1), "{}", stdout(&failed));
    assert!(data.join("log/db").exists());
    assert_eq!(others(), Vec::<std::path::PathBuf>::new());
    for command in [["route", "hello"], ["export", "there/is/none.jsonl"]] {
        pointsman(dir.path(), &command);
        assert_eq!(others(), Vec::<std::path::PathBuf>::new(), "{command:?}");
    }
}

#[test]
fn an_export_has_what_a_clock_that_was_ahead_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let ahead_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 8_640_000;
    let id = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, ahead_s, 0));
    let entry =
        serde_json::json!({ "decision": { "id": id, "at_ms": ahead_s * 1000, "chosen": "a", "request": {} } });
    std::fs::write(dir.path().join("log.jsonl"), format!("{entry}\n")).unwrap();
    assert!(pointsman(dir.path(), &["import", "log.jsonl"]).status.success());
    let all = pointsman(dir.path(), &["export", "-"]);
    assert!(stdout(&all).contains(&id.to_string()), "{}", stderr(&all));
    let until = pointsman(dir.path(), &["export", "-", "--until", "2026-11-24"]);
    assert_eq!(stdout(&until), "", "{}", stderr(&until));
}

#[test]
fn an_interrupted_measurement_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut bench = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["bench", "--json"])
        .env("TMPDIR", dir.path())
        .env("POINTSMAN__SERVER__DATA_DIR", elsewhere.path().join("var"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let left = || dir.path().read_dir().unwrap().flatten().next();
    // The gateway that it started says something once it listens.
    let begun = || {
        let log = left().and_then(|dir| std::fs::metadata(dir.path().join("log")).ok());
        log.is_some_and(|log| log.len() > 0)
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !begun() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(begun(), "it never began");
    let _ = std::process::Command::new("kill").args(["-INT", &bench.id().to_string()]).status();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert!(left().is_none());
    assert!(elsewhere.path().read_dir().unwrap().next().is_none(), "nor where the environment has a gateway's data");
}

#[test]
fn an_export_that_fails_says_so_and_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let id = uuid::Uuid::now_v7();
    let entry = serde_json::json!({ "decision": { "id": id, "at_ms": 1, "chosen": "a", "request": {} } });
    std::fs::write(dir.path().join("log.jsonl"), format!("{entry}\n")).unwrap();
    assert!(pointsman(dir.path(), &["import", "log.jsonl"]).status.success());
    let exported = pointsman(dir.path(), &["export", "good.jsonl"]);
    assert!(stdout(&exported).ends_with("good.jsonl as JSON Lines\n"), "{}", stderr(&exported));
    let good = || std::fs::read_to_string(dir.path().join("good.jsonl")).unwrap();
    let before = good();
    assert!(before.contains(&id.to_string()));
    let piped = pointsman(dir.path(), &["export", "-"]);
    assert_eq!((stdout(&piped), dir.path().join("-").exists()), (before.clone(), false), "{}", stderr(&piped));
    // Onto itself by another name, and from a file that is not there.
    assert!(pointsman(dir.path(), &["export", "./good.jsonl", "--from", "good.jsonl"]).status.success());
    assert_eq!(good(), before);
    assert_eq!(pointsman(dir.path(), &["export", "good.jsonl", "--from", "none.jsonl"]).status.code(), Some(1));
    assert_eq!(good(), before);

    std::fs::write(dir.path().join("var/log/conf"), "no configuration").unwrap();
    for command in [["export", "good.jsonl"], ["import", "log.jsonl"]] {
        let failed = pointsman(dir.path(), &command);
        assert_eq!(failed.status.code(), Some(1), "{command:?}: {}", stdout(&failed));
        assert!(stderr(&failed).contains("cannot be read"), "{}", stderr(&failed));
    }
    assert_eq!(good(), before);
    let there = std::fs::read_dir(dir.path().join("var")).unwrap().map(|it| it.unwrap().file_name());
    assert!(there.into_iter().all(|name| !name.to_string_lossy().contains("broken")), "it was left where it is");
}

#[test]
fn what_was_said_since_the_last_import_comes_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let id = uuid::Uuid::now_v7();
    let mut entry = serde_json::json!({ "decision": { "id": id, "at_ms": 1, "chosen": "a", "request": {} } });
    let import = |entry: &serde_json::Value| {
        std::fs::write(dir.path().join("log.jsonl"), format!("{entry}\n")).unwrap();
        stdout(&pointsman(dir.path(), &["import", "log.jsonl"]))
    };
    assert!(import(&entry).contains("1 entries imported"));
    let said = |id_of: &str, score: f64| serde_json::json!({ "id": id_of, "decision": id, "at_ms": 2, "kind": { "score": score }, "source": id_of });
    entry["outcome"] = serde_json::json!({ "id": id, "at_ms": 2, "status": "ok", "model": "a" });
    entry["feedback"] = serde_json::json!([said("good", 0.5), said("nonsense", 7.0)]);
    for _ in 0..2 {
        assert!(import(&entry).contains("0 entries imported, 1 were there already"));
    }
    let settings = pointsman::config::Store::default();
    let store = pointsman::store::Store::open(&dir.path().join("var"), &settings, 0).unwrap().0;
    let there = store.entry(pointsman::protocol::DecisionId(id)).unwrap().unwrap();
    assert!(there.outcome.is_some());
    assert_eq!((there.feedback.len(), there.verdict()), (1, Some(0.5)));
}

#[test]
fn a_log_is_not_damaged_because_no_thread_can_be_started() {
    let dir = tempfile::tempdir().unwrap();
    let entry =
        serde_json::json!({ "decision": { "id": uuid::Uuid::now_v7(), "at_ms": 1, "chosen": "a", "request": {} } });
    std::fs::write(dir.path().join("log.jsonl"), format!("{entry}\n")).unwrap();
    // No address space holds a stack of 2^60 bytes.
    let without_threads = |command: &[&str]| {
        let refused = pointsman_with(dir.path(), command, ("RUST_MIN_STACK", "1152921504606846976"));
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("threads cannot be started") && !said.contains("panicked"), "{said}");
    };
    // The first import begins the log, the second finds it.
    without_threads(&["import", "log.jsonl"]);
    assert!(stdout(&pointsman(dir.path(), &["import", "log.jsonl"])).contains("1 entries imported"));
    without_threads(&["import", "log.jsonl"]);
    without_threads(&["export", "out.jsonl"]);
    assert!(pointsman(dir.path(), &["export", "out.jsonl"]).status.success());
    let there = std::fs::read_dir(dir.path().join("var")).unwrap().map(|it| it.unwrap().file_name());
    assert!(there.into_iter().all(|name| !name.to_string_lossy().contains("broken")), "the log was set aside");
}

#[test]
fn a_gateway_that_is_given_no_thread_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // No address space holds a stack of 2^60 bytes.
    let refused = pointsman_with(dir.path(), &["serve", "--sandbox"], ("RUST_MIN_STACK", "1152921504606846976"));
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("pointsman: the runtime cannot be started: the system gives this process no more"),
        "{said}"
    );
}
