//! Tests of taking in files from elsewhere.

use std::fs;
use std::io::Write;

use super::super::{Dataset, Limits, Split, read};
use super::*;

fn imported(name: &str, text: &str) -> (Dataset, Imported) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs::write(&file, text).unwrap();
    let out = dir.path().join("set");
    let report = import(&[file], Called::Unless("theirs"), &out).unwrap();
    // A split may well be empty in so small a set.
    (read(&out, Split::Train, Limits::default()).unwrap(), report)
}

fn outcome(dataset: &Dataset, prompt: &str, model: &str) -> (f32, Option<f32>) {
    let record = dataset.records.iter().find(|record| &*record.prompt == prompt).unwrap();
    let arm = dataset.arms.iter().position(|arm| arm.model == model).unwrap();
    let outcome = record.outcome(arm as u32).unwrap();
    (outcome.score, outcome.cost_usd)
}

#[test]
fn an_import_that_fails_leaves_an_earlier_one_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("rows.jsonl"), dir.path().join("set"));
    let rows = |prompts: std::ops::Range<usize>| -> String {
        prompts.map(|at| format!("{{\"prompt\":\"p{at}\",\"model\":\"m\",\"score\":1}}\n")).collect()
    };
    let written = |prompts| {
        fs::write(&file, rows(prompts)).unwrap();
        import(&[&file], Called::Always("s"), &out)
    };
    assert_eq!(written(0..30).unwrap().prompts, 30);
    let train = fs::read(out.join("train/s.jsonl")).unwrap();
    // The last of its files cannot be written.
    fs::remove_dir_all(out.join("test")).unwrap();
    fs::write(out.join("test"), "").unwrap();
    assert!(written(30..60).is_err());
    assert_eq!(fs::read(out.join("train/s.jsonl")).unwrap(), train);
    assert_eq!(fs::read_dir(out.join("train")).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_packed_file_is_read_in_whatever_case_its_name_ends() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.JSONL.GZ", "{\"prompt\":\"p\",\"model\":\"m\",\"score\":1}\n"),
        ("b.csv.Gz", "prompt,model,score\np,m,1\n"),
        ("c.tsv.gz", "prompt\tmodel\tscore\np\tm\t1\n"),
    ] {
        let file = dir.path().join(name);
        let mut packed = flate2::write::GzEncoder::new(fs::File::create(&file).unwrap(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap();
        assert_eq!(import(&[file], Called::Always("s"), dir.path()).unwrap().outcomes, 1, "{name}");
    }
}

#[test]
fn routerbench_has_a_column_for_each_model() {
    let text = "sample_id,prompt,eval_name,gpt-4,mixtral,gpt-4|model_response,gpt-4|total_cost,mixtral|total_cost,oracle_model_to_route_to\n\
                1,\"What is 2+2?\",gsm8k,1.0,0.0,\"4, of course\",0.002,0.0001,gpt-4\n\
                2,Who?,mmlu,0.5,,x,0.002,0.0001,gpt-4\n";
    let (dataset, report) = imported("rb.csv", text);
    assert_eq!((report.prompts, report.models, report.outcomes, report.left_out), (2, 2, 3, 1));
    assert_eq!(outcome(&dataset, "What is 2+2?", "gpt-4"), (1.0, Some(0.002)));
    assert_eq!(outcome(&dataset, "What is 2+2?", "mixtral"), (0.0, Some(0.0001)));
    assert!(dataset.tasks.contains(&"gsm8k".to_owned()));
}

#[test]
fn long_tables_and_grouped_documents_come_together_by_prompt() {
    let long = r#"[{"query":"a","model_name":"m1","performance":1,"task_name":"t","cost":0.1},
        {"query":"a","model_name":"m2","performance":"0.25","response_time":1.5},
        {"query":"a","model_name":"m2","performance":0.75}, {"query":"b","model_name":"m1"}]"#;
    let (dataset, report) = imported("long.json", long);
    assert_eq!((report.prompts, report.outcomes, report.left_out), (1, 2, 1));
    assert_eq!(report.reason.as_deref(), Some("entry 4: it has no score"));
    assert_eq!(outcome(&dataset, "a", "m2").0, 0.5);
    let grouped =
        r#"{"model_name":"m3","dataset_name":"d","records":[{"origin_query":"q","score":true,"prompt_tokens":7}]}"#;
    let (dataset, _) = imported("grouped.json", grouped);
    assert_eq!(outcome(&dataset, "q", "m3").0, 1.0);
    let scores = "{\"question\":\"q\",\"scores\":{\"a\":0.5,\"b\":null}}\n";
    assert_eq!(imported("dc.jsonl", scores).1.left_out, 1);
}

#[test]
fn request_logs_are_used_as_far_as_they_carry_enough() {
    let log = concat!(
        r#"{"model":"gpt-4o","messages":[{"role":"system","content":"s"},{"role":"user","content":"hello"}],"response_cost":0.01,"metadata":{"rating":5},"prompt_tokens":3}"#,
        "\n",
        r#"{"request":{"model":"claude","messages":[{"role":"user","content":[{"type":"text","text":"hello"}]}]},"response":{"usage":{"completion_tokens":9}},"feedback":{"thumbs":"down"}}"#,
        "\n",
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"not rated"}]}"#,
        "\n"
    );
    let (dataset, report) = imported("log.jsonl", log);
    assert_eq!((report.prompts, report.models, report.left_out), (1, 2, 1));
    assert_eq!(outcome(&dataset, "hello", "gpt-4o"), (1.0, Some(0.01)));
    assert_eq!(outcome(&dataset, "hello", "claude").0, 0.0);
    assert_eq!(dataset.records[0].outcomes.iter().filter_map(|it| it.output_tokens).sum::<f32>(), 9.0);
}

#[test]
fn files_of_one_source_come_together() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["m1", "m2"].map(|model| {
        let file = dir.path().join(format!("{model}.jsonl"));
        fs::write(&file, format!("{{\"prompt\":\"a\",\"model\":\"{model}\",\"score\":1}}\n")).unwrap();
        file
    });
    let report = import(&files, Called::Always("both"), &dir.path().join("set")).unwrap();
    assert_eq!((report.prompts, report.models, report.outcomes), (1, 2, 2));
    let empty = dir.path().join("empty.jsonl");
    fs::write(&empty, "{\"prompt\":\"a\"}\n").unwrap();
    let error = import(&[&files[0], &empty], Called::Always("both"), dir.path()).unwrap_err().to_string();
    assert!(error.contains("empty.jsonl"), "{error}");
}

#[test]
fn our_own_records_pass_and_nothing_is_invented() {
    let own = "{\"prompt\":\"p\",\"task\":\"x/y\",\"outcomes\":{\"m\":{\"score\":0.5,\"latency_ms\":3}}}\n";
    assert_eq!(outcome(&imported("own.jsonl", own).0, "p", "m").0, 0.5);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.jsonl");
    fs::write(&file, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"secret\"}]}\n").unwrap();
    let error = import(&[&file], Called::Always("x"), dir.path()).unwrap_err().to_string();
    assert!(error.contains("no score") && !error.contains("secret"), "{error}");
    fs::write(&file, "{\"model\": secret").unwrap();
    let error = import(&[&file], Called::Always("x"), dir.path()).unwrap_err().to_string();
    assert!(error.contains("column") && !error.contains("secret"), "{error}");
}

#[test]
fn what_stands_outside_of_rows_is_no_outcome_of_theirs() {
    let text = r#"{"model_name":"m","performance":0.63,"cost":1.23,"prompt_tokens":50000,"records":[
        {"origin_query":"a","score":null,"cost":0.1},{"origin_query":"b","score":1}]}"#;
    let (dataset, report) = imported("bench.json", text);
    assert_eq!((report.prompts, report.left_out), (1, 1));
    assert_eq!(outcome(&dataset, "b", "m"), (1.0, None));
    assert_eq!(dataset.records[0].outcomes[0].input_tokens, None);
}

#[test]
fn our_own_records_keep_what_they_say_of_themselves_and_a_question_stays_in_one_split() {
    let line = |at: usize| {
        format!(
            "{{\"id\":\"r{at}\",\"source\":\"s\",\"group\":\"g{}\",\"origin\":\"o\",\"prompt\":\"p{}\",\"outcomes\":{{\"m\":{{\"score\":1}}}}}}\n",
            at / 6,
            at / 2
        )
    };
    let (dataset, report) = imported("own.jsonl", &(0..90).map(line).collect::<String>());
    assert_eq!(
        (report.prompts, dataset.records.len()),
        (90, 90),
        "one prompt under two ids is two records, as it was"
    );
    assert_eq!(dataset.sources, ["s"]);
    let mut ids: Vec<&str> = dataset.records.iter().map(|record| &*record.id).collect();
    ids.sort_unstable();
    assert!(ids.contains(&"r0") && ids.contains(&"r89"));
    assert!(dataset.records.iter().all(|record| record.origin.as_deref() == Some("o")));
    // That no group stands in two splits `read` has seen to.
    assert!(Split::ALL.into_iter().all(|split| dataset.has(split)));
}

#[test]
fn percents_are_brought_to_one_in_the_whole_column_and_other_scales_are_refused() {
    let (dataset, report) = imported("s.csv", "prompt,model,score\na,m,87\nb,m,1\nc,m,\n");
    assert_eq!((outcome(&dataset, "a", "m").0, outcome(&dataset, "b", "m").0), (0.87, 0.01));
    assert!(report.notes[0].contains("`score`") && report.left_out == 1, "{report:?}");
    for (text, place) in [
        ("prompt,model,score\na,m,1\nb,m,101\n", "line 3"),
        ("prompt,model,score\r\n\"a\r\na\",m,1\r\nb,m,-1\r\n", "line 4"),
        ("prompt,model,score\na,m,5\nb,m,1\n", "line 2"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.csv");
        fs::write(&file, text).unwrap();
        let error = import(&[file], Called::Always("x"), dir.path()).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains("`score`"), "{error}");
    }
}

#[test]
fn a_row_of_another_length_than_the_header_is_left_out_and_told() {
    let (dataset, report) = imported("s.csv", "prompt,model,score\na,m,1\nwell, b,m,0\nc,m,0.5\nd,m\n");
    assert_eq!((dataset.records.len(), report.left_out), (2, 2));
    assert_eq!(report.reason.as_deref(), Some("line 3: 4 fields under a header of 3"));
}

#[test]
fn columns_may_be_divided_by_semicolons_or_tabs() {
    for text in ["prompt;model;score\r\n\"a; b\";m;1\r\n", "prompt\tmodel\tscore\na; b\tm\t1\n"] {
        assert_eq!(outcome(&imported("s.csv", text).0, "a; b", "m").0, 1.0);
    }
    let (dataset, _) = imported("s.csv", "prompt,model,score\na; b,m,1\n");
    assert_eq!(outcome(&dataset, "a; b", "m").0, 1.0);
}

#[test]
fn of_an_export_of_a_decision_log_is_said_what_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let entry = "{\"decision\":{\"id\":\"x\",\"prompt\":\"secret\"},\"feedback\":[]}\n".repeat(2);
    for (name, bytes) in [("log.jsonl", entry.as_bytes()), ("log.parquet", &b"PAR1\x15\x04\xff\xfe"[..])] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let error = import(&[file], Called::Always("x"), dir.path()).unwrap_err().to_string();
        assert!(error.contains("`train --log`") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn logs_come_in_more_shapes_than_one() {
    let spend = r#"{"data":[{"model":"a","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}],
        "metadata":"{\"score\":0.5}","startTime":"2025-01-01T00:00:00Z","endTime":"2025-01-01T00:00:01.500Z"}]}"#;
    let (dataset, report) = imported("spend.json", spend);
    assert_eq!((report.prompts, report.left_out), (1, 0), "{report:?}");
    assert_eq!(outcome(&dataset, "hi", "a").0, 0.5);
    assert_eq!(dataset.records[0].outcomes[0].latency_ms, Some(1500.0));
    let bench = r#"[{"prompt":"['It\\'s\\none', \"two\"]","m":1.0,"m|total_cost":0.5,"m|model_response":"x"}]"#;
    let (dataset, _) = imported("bench.json", bench);
    assert_eq!(outcome(&dataset, "It's\none\n\ntwo", "m"), (1.0, Some(0.5)));
}
