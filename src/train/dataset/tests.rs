//! Tests of reading data sets.

use std::io::Write;
use std::path::Path;

use super::*;

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    if name.ends_with(".gz") {
        let mut gz = flate2::write::GzEncoder::new(std::fs::File::create(path).unwrap(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap();
    } else {
        std::fs::write(path, text).unwrap();
    }
}

fn line(id: &str, group: &str) -> String {
    format!(
        r#"{{"id":"{id}","source":"s","task":"t/a","group":"{group}","prompt":"hello","outcomes":{{"m":{{"score":1.0,"cost_usd":0.5}},"n":{{"score":0.25}}}},"extra":1}}"#
    ) + "\n"
}

#[test]
fn split_folders_with_packed_and_plain_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "train/a.jsonl.gz", &(line("1", "g1") + &line("2", "g2")));
    put(dir.path(), "test/a.jsonl", &(line("3", "g3") + "\n"));
    put(dir.path(), "notes.txt", "not data");
    let data = read(dir.path(), Split::Test, Limits::default()).unwrap();
    assert_eq!(data.of(Split::Train).count(), 2);
    assert_eq!(data.of(Split::Test).count(), 1);
    assert!(!data.has(Split::Val));
    assert_eq!(data.sources, ["s"]);
    assert_eq!(data.arms.iter().map(|arm| arm.model.as_str()).collect::<Vec<_>>(), ["m", "n"]);
    let record = &data.records[0];
    assert_eq!(data.family(record), "t");
    assert_eq!(record.outcome(0).unwrap().cost_usd, Some(0.5));
    assert_eq!(record.outcome(1).unwrap().cost_usd, None);
    assert_eq!(record.outcome(7), None);
}

#[test]
fn a_rehearsal_has_val_for_test_and_part_of_train_for_val_and_nothing_of_test() {
    let dir = tempfile::tempdir().unwrap();
    let lines = |from: usize, count: usize| -> String {
        // Two records to a question.
        (from..from + count).map(|at| line(&at.to_string(), &format!("g{}", at / 2))).collect()
    };
    put(dir.path(), "train/a.jsonl", &lines(0, 400));
    put(dir.path(), "val/a.jsonl", &lines(1000, 20));
    put(dir.path(), "test/a.jsonl", &lines(2000, 30));
    let mut data = read(dir.path(), Split::Test, Limits::default()).unwrap();
    data.rehearse();
    let (train, val) = (data.of(Split::Train).count(), data.of(Split::Val).count());
    assert_eq!(train + val, 400);
    assert!((80..=160).contains(&val), "{val}");
    let ids: Vec<&str> = data.of(Split::Test).map(|record| &*record.id).collect();
    assert_eq!(ids, (1000..1020).map(|at| at.to_string()).collect::<Vec<_>>());
    let groups = |split| data.of(split).map(|record| record.group).collect::<std::collections::HashSet<u64>>();
    assert!(groups(Split::Train).is_disjoint(&groups(Split::Val)), "a question stands in two splits");
}

#[test]
fn folders_below_a_split_are_read_wherever_the_split_is() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "nested/data/v1/train/a/b/x.jsonl.gz", &line("1", "g1"));
    put(dir.path(), "nested/data/v1/test/x.jsonl", &line("2", "g2"));
    let data = read(&dir.path().join("nested"), Split::Test, Limits::default()).unwrap();
    assert_eq!([Split::Train, Split::Test].map(|split| data.of(split).count()), [1, 1]);
}

#[test]
fn a_line_that_ends_inside_a_text_is_told_as_that() {
    for end in ["\n", "\r\n"] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "test/x.jsonl", &format!("{{\"prompt\":\"begun{end}{}", line("1", "g")));
        let message = read(dir.path(), Split::Test, Limits::default()).unwrap_err().to_string();
        let why = "x.jsonl, line 1: not valid JSON: EOF while parsing a string (column 16)";
        assert!(message.ends_with(why), "{message}");
    }
}

#[test]
fn files_without_folders_belong_to_the_split_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "new.jsonl", r#"{"prompt":"p","outcomes":{"m":{"score":0}}}"#);
    put(dir.path(), "train.jsonl", r#"{"prompt":"p","outcomes":{"m":{"score":1}}}"#);
    let data = read(dir.path(), Split::Test, Limits::default()).unwrap();
    assert_eq!(data.of(Split::Test).count(), 1);
    assert_eq!(data.of(Split::Train).count(), 1);
    let one = read(&dir.path().join("new.jsonl"), Split::Val, Limits::default()).unwrap();
    assert_eq!((one.sources[0].as_str(), one.records[0].split), ("new", Split::Val));
}

#[test]
fn complaints_name_file_and_line_and_never_the_prompt() {
    let cases = [
        ("{\"prompt\":\"p\",\"outcomes\":{\"m\":{\"score\":1.5}}}", "`score` is 1.5"),
        ("{\"prompt\":\"p\",\"outcomes\":{\"m\":{\"score\":\"good\"}}}", "invalid type: a string"),
        ("{\"prompt\":\"p\",\"outcomes\":{\"m\":{\"score\":1,\"cost_usd\":-1}}}", "`cost_usd` is -1"),
        ("{\"outcomes\":{\"m\":{\"score\":1}}}", "missing field `prompt`"),
        ("{\"prompt\":", "not valid JSON"),
        ("{\"prompt\":\"p\",\"outcomes\":\"a secret text\"}", "not a record: invalid type: a string"),
        ("{\"prompt\":\"p\",\"outcomes\":{\"m\":1}}", "expected an object with `score`"),
        ("{\"prompt\":\"p\",\"outcomes\":{\"m\":{\"score\":1},\"m\":{\"score\":0}}}", "the model `m` twice"),
        ("{\"prompt\":\"p\",\"outcomes\":{\"\":{\"score\":1}}}", "a model without a name"),
        ("{\"prompt\":\"p\",\"outcomes\":{\"m\":{\"score\":1,\"cost_usd\":1e300}}}", "`cost_usd` is 1e300"),
        ("[{\"prompt\":\"a secret\"}]", "a list, and not a record; `pointsman import"),
        ("7", "expected an object with `prompt` and `outcomes`"),
    ];
    for (text, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "test/x.jsonl", &(line("1", "g") + text + "\n"));
        let message = read(dir.path(), Split::Test, Limits::default()).unwrap_err().to_string();
        assert!(message.contains("x.jsonl, line 2: ") && message.contains(expected), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn files_of_another_kind_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a/x.jsonl.gz", &line("1", "g"));
    std::fs::rename(dir.path().join("a/x.jsonl.gz"), dir.path().join("a/x.jsonl")).unwrap();
    let utf16: Vec<u8> = "\u{feff}{}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::create_dir_all(dir.path().join("b")).unwrap();
    std::fs::write(dir.path().join("b/x.jsonl"), utf16).unwrap();
    put(dir.path(), "c/x.csv", "prompt,score");
    let complaint = |part: &str| {
        read(&dir.path().join(part), Split::Test, Limits::default()).map(|_| ()).unwrap_err().to_string()
    };
    assert!(
        complaint("a").ends_with("x.jsonl, line 1: the file is compressed with gzip: let its name end in .jsonl.gz")
    );
    assert!(complaint("b").ends_with("the file is UTF-16: save it as UTF-8"), "{}", complaint("b"));
    assert!(complaint("c").contains("`pointsman import FILE --dataset DIR`"), "{}", complaint("c"));
}

#[test]
fn members_of_an_archive_and_the_padding_behind_them_are_read() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "one.gz", &line("1", "g1"));
    put(dir.path(), "two.gz", &line("2", "g2"));
    let [one, two] = ["one.gz", "two.gz"].map(|name| std::fs::read(dir.path().join(name)).unwrap());
    let read = |bytes: Vec<u8>| {
        std::fs::write(dir.path().join("x.jsonl.gz"), bytes).unwrap();
        read(dir.path(), Split::Test, Limits::default()).map(|data| data.records.len()).map_err(|e| e.to_string())
    };
    assert_eq!(read([&one[..], &two, &[0; 20_000]].concat()), Ok(2));
    assert_eq!(read([&one[..], &[0; 9], &two].concat()), Ok(2));
    assert!(read([&one[..], b"more"].concat()).unwrap_err().contains("line 2: reading failed here"));
    assert!(read([&one[..], &two[..two.len() - 9]].concat()).is_err(), "a member that is cut off");
}

#[test]
fn hidden_files_are_no_data() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "test/a.jsonl", &line("1", "g"));
    put(dir.path(), "test/._a.jsonl", "Mac OS X");
    put(dir.path(), ".b.jsonl", "notes");
    let data = read(dir.path(), Split::Test, Limits::default()).unwrap();
    assert_eq!((data.records.len(), data.notes.len()), (1, 0));
}

#[test]
fn files_whose_names_say_nothing_are_of_one_collection() {
    let dir = tempfile::tempdir().unwrap();
    let plain = r#"{"prompt":"p","outcomes":{"m":{"score":1}}}"#;
    let sources = |files: &[&str]| {
        let folder = tempfile::tempdir_in(dir.path()).unwrap();
        files.iter().for_each(|file| put(&folder.path().join("exams"), file, plain));
        let data = read(&folder.path().join("exams"), Split::Test, Limits::default()).unwrap();
        assert_eq!(data.records.len(), files.len());
        assert!(data.notes.iter().all(|note| !note.contains("have the id of another")), "{:?}", data.notes);
        (data.sources, data.tasks.len(), data.arms.len())
    };
    let exams = (vec!["exams".to_owned()], 1, 1);
    assert_eq!(sources(&["train.jsonl", "Validation.jsonl", "test.jsonl"]), exams);
    assert_eq!(sources(&["train/train.jsonl", "test/test.jsonl"]), exams);
    assert_eq!(sources(&["train/part-0.jsonl", "val/part-1.jsonl", "test/part-2.jsonl"]), exams);
    assert_eq!(sources(&["train.jsonl", "hidden.jsonl"]), exams);
    assert_eq!(sources(&["train/maths.jsonl", "test/maths.jsonl"]).0, ["maths"]);
    assert_eq!(sources(&["train/maths.jsonl", "train/art.jsonl", "test/art.jsonl"]).0, ["art", "maths"]);
    assert_eq!(sources(&["maths.jsonl", "art.jsonl"]).0, ["art", "maths"]);
}

#[test]
fn a_group_in_two_splits_is_told() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "train/a.jsonl", &(line("1", "shared") + &line("2", "own")));
    put(dir.path(), "test/a.jsonl", &(line("3", "shared") + &line("4", "shared")));
    let data = read(dir.path(), Split::Test, Limits::default()).unwrap();
    let leak = data.leak.as_ref().unwrap();
    assert_eq!((leak.count, leak.first, leak.second, leak.line), (1, Split::Train, Split::Test, 1));
    assert!(leak.to_string().starts_with("1 group leaks between splits; the first: group `"), "{leak}");
    let many = Leak { count: 2, ..leak.clone() };
    assert!(many.to_string().starts_with("2 groups leak between splits; "), "{many}");
    assert!(data.notes.iter().any(|note| note.contains("`shared`")));
    assert_eq!((data.seen_before(Split::Train), data.seen_before(Split::Test)), (0, 2), "they are worded alike, too");
}

#[test]
fn what_is_odd_or_absent_is_taken_or_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let lines = [
        "\u{feff}{\"id\":7,\"group\":3,\"prompt\":\"a\",\"outcomes\":{\"m\":{\"score\":true},\"n\":{\"score\":null},\"o\":null,\"p\":{}}}",
        "{\"id\":\"7\",\"prompt\":\"b\",\"outcomes\":{\"m\":{\"score\":false,\"cost_usd\":NaN}}}",
        "{\"prompt\":\"c\",\"outcomes\":{}}",
        "{\"prompt\":\"d\",\"outcomes\":{\"m\":{\"score\":null}}}",
        "{\"prompt\":\"e\",\"outc",
    ];
    put(dir.path(), "test/x.jsonl", &lines.join("\n"));
    let data = read(dir.path(), Split::Test, Limits::default()).unwrap();
    let scores: Vec<f32> = data.records.iter().map(|record| record.outcomes[0].score).collect();
    assert_eq!((scores, data.arms.len(), data.records[1].outcomes[0].cost_usd), (vec![1.0, 0.0], 1, None));
    assert_eq!((&*data.records[0].id, data.records[0].group, data.leak), ("7", hash("3"), None));
    assert_ne!(data.records[0].id, data.records[1].id);
    let notes = data.notes.join("\n");
    for told in [
        "line 5: the last line is cut",
        "2 prompts have no outcome",
        "4 outcomes have no score",
        "1 records have the id",
        "1 records hold NaN",
    ] {
        assert!(notes.contains(told), "{notes}");
    }
}

#[test]
fn parts_are_found_by_any_name_and_nothing_is_guessed() {
    let judged = |files: &[&str], wanted: &str| -> Result<(String, Split, [usize; 3]), String> {
        let dir = tempfile::tempdir().unwrap();
        for (at, file) in files.iter().enumerate() {
            put(dir.path(), file, &line(&at.to_string(), &at.to_string()));
        }
        let (data, split, name) =
            read_judged(dir.path(), wanted, Limits::default()).map_err(|error| error.to_string())?;
        Ok((name, split, Split::ALL.map(|split| data.of(split).count())))
    };
    let test = |name: &str, counts| Ok((name.to_owned(), Split::Test, counts));
    assert_eq!(judged(&["Train/a.jsonl", "TEST/a.jsonl", "dev/a.jsonl"], "test"), test("test", [1, 1, 1]));
    assert_eq!(judged(&["train/a.jsonl", "test.jsonl"], "test"), test("test", [1, 0, 1]));
    assert_eq!(judged(&["train/a.jsonl", "hidden/a.jsonl"], "test"), test("test", [1, 0, 1]));
    assert_eq!(judged(&["hidden/a.jsonl"], "test"), test("test", [0, 0, 1]));
    assert_eq!(judged(&["data/test/a.jsonl", "data/train/a.jsonl"], "test"), test("test", [1, 0, 1]));
    assert_eq!(judged(&["test/deep/a.jsonl"], "test"), test("test", [0, 0, 1]));
    let both = ["train/a.jsonl", "test/a.jsonl", "hidden/a.jsonl", "hidden/b.jsonl"];
    assert_eq!(judged(&both, "Hidden"), test("hidden", [1, 0, 2]));
    assert_eq!(judged(&["a.jsonl", "b.jsonl"], "b"), test("b", [0, 0, 1]));
    assert_eq!(judged(&["val/a.jsonl", "dev/a.jsonl"], "dev"), test("dev", [0, 1, 1]));
    assert_eq!(judged(&["dev/a.jsonl"], "validation").map(|it| it.1), Ok(Split::Val));
    for (files, wanted) in [
        (&["val/a.jsonl"][..], "test"),
        (&["train/a.jsonl", "one/a.jsonl", "two/a.jsonl"], "test"),
        (&["test/a.jsonl"], "hidden"),
    ] {
        let error = judged(files, wanted).unwrap_err();
        assert!(error.contains(&format!("has no `{wanted}`; there is `")) && error.contains("--split"), "{error}");
    }
    assert!(judged(&["test/a.jsonl", "test/a.jsonl.gz"], "test").unwrap_err().contains("twice"));
}

#[test]
fn a_cut_off_archive_is_an_error_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (0..2000).map(|i| line(&i.to_string(), &i.to_string())).collect();
    put(dir.path(), "train/a.jsonl.gz", &text);
    let path = dir.path().join("train/a.jsonl.gz");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = read(dir.path(), Split::Test, Limits::default()).unwrap_err();
    assert!(matches!(error, DatasetError::Broken { line, .. } if line > 1), "{error}");
}

#[test]
fn an_empty_folder_says_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let message = read(dir.path(), Split::Test, Limits::default()).unwrap_err().to_string();
    assert!(message.contains("expected train/, val/ and test/"));
}

#[test]
fn a_sample_is_the_same_whatever_the_order() {
    let lines: Vec<String> = (0..50).map(|i| line(&format!("id{i}"), &format!("g{i}"))).collect();
    let ids = |text: String| {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "train/a.jsonl", &text);
        let data = read(dir.path(), Split::Test, Limits { per_source: Some(10), ..Limits::default() }).unwrap();
        assert_eq!((data.records.len(), data.left_out), (10, 40));
        let mut ids: Vec<_> = data.records.into_iter().map(|record| record.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(lines.concat()), ids(lines.iter().rev().cloned().collect()));
}

#[test]
fn too_much_text_is_refused_before_memory_ends() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "train/a.jsonl", &(line("1", "a") + &line("2", "b")));
    let limits = Limits { bytes: 8 << 10, ..Limits::default() };
    let error = read(dir.path(), Split::Test, limits).unwrap_err();
    assert!(matches!(error, DatasetError::TooLarge { .. }));
    assert!(
        read(dir.path(), Split::Test, Limits { features: false, ..limits }).is_ok(),
        "where nothing is made of it"
    );
}

#[test]
fn sources_and_families_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let line = |id: &str, source: &str, task: &str, model: &str| {
        format!(
            r#"{{"id":"{id}","source":"{source}","task":"{task}","prompt":"p","outcomes":{{"{model}":{{"score":1}}}}}}"#
        )
    };
    let lines = [line("1", "a", "x/1", "m"), line("2", "b", "x/2", "n"), line("3", "b", "y", "o")].join("\n");
    std::fs::write(folder.path().join("train.jsonl"), &lines).unwrap();
    std::fs::write(folder.path().join("test.jsonl"), line("4", "b", "x/2", "n")).unwrap();
    let mut data = read(folder.path(), Split::Train, Limits::default()).unwrap().only(&["b".to_owned()]);
    assert_eq!((data.sources.as_slice(), data.arms.len(), data.records.len()), (&["b".to_owned()][..], 2, 3));
    let models: Vec<&str> =
        data.records.iter().map(|r| data.arms[r.outcomes[0].arm as usize].model.as_str()).collect();
    assert_eq!(models, ["n", "n", "o"], "test.jsonl is read first");
    data.leave_out(&["x".to_owned()]);
    let left: Vec<&str> = data.records.iter().map(|record| &*record.id).collect();
    assert_eq!(left, ["4", "3"], "train loses the family, test has nothing else");
}
