//! Other people's files as a data set of recorded outcomes.
//!
//! Read are CSV, JSON (an array, or one object) and JSON lines, each also packed with gzip. A row is taken for what it
//! looks like:
//!
//! - **recorded outcomes** of this project: it has `outcomes`.
//! - **one column for each model** (RouterBench): columns `MODEL` and `MODEL|total_cost` or `MODEL|model_response`; or an object
//!   `scores` of model to score (RouterDC).
//! - **one row for each model** (LLMRouterBench, LLMRouter): it names a model, a prompt and a score; or it is an object with
//!   `records` whose model and data set stand outside.
//! - **request logs** of LiteLLM, or in the shape of OpenAI's API: a model, `messages`, and a score (`score`, `rating` of 1 to 5,
//!   `thumbs`, or one of these under `metadata` or `feedback`).
//!
//! Rows without prompt, model or score are left out and counted: nothing is invented. Rows of one prompt become one record;
//! two scores of a model on it are averaged. A hash of the prompt decides the split, 4 : 1 : 1.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};

use super::Split;
use super::read::hash;

/// The largest file that is read, unpacked: it stands in memory while its prompts are brought together.
const LARGEST: u64 = 2 << 30;

/// What became of some files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Prompts in the data set.
    pub prompts: usize,
    /// Models.
    pub models: usize,
    /// Outcomes.
    pub outcomes: usize,
    /// Rows that carried too little.
    pub left_out: usize,
    /// Why the first of them was left out.
    pub reason: Option<String>,
}

/// A file that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is neither CSV nor JSON. The text is not quoted: it may hold a prompt.
    #[error("{path}: not readable as CSV, JSON or JSON lines ({what})")]
    Shape {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Not one row carried enough.
    #[error("{path}: none of its {rows} rows has a prompt, a model and a score ({reason})")]
    Nothing {
        /// Which.
        path: String,
        /// How many there were.
        rows: usize,
        /// Why the first was left out.
        reason: String,
    },
}

/// Reads `files` and writes them together as source `source` under `dir`, in the layout that [`read`](super::read()) takes. What
/// that source had there before is gone.
///
/// # Errors
///
/// When one of them cannot be read, or nothing of it can be used.
pub fn import(files: &[impl AsRef<Path>], source: &str, dir: &Path) -> Result<Imported, ImportError> {
    let mut found = Found::default();
    for file in files {
        found.file(file.as_ref())?;
    }
    found.write(source, dir).map_err(|error| ImportError::Io { path: dir.display().to_string(), source: error })
}

fn load(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let open = File::open(file)?;
    let gzip = file.extension().is_some_and(|it| it == "gz");
    let bytes: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(open)) } else { Box::new(open) };
    let read = bytes.take(LARGEST).read_to_string(&mut text)?;
    if read as u64 == LARGEST {
        return Err(std::io::Error::other(format!("larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}

fn json_rows(text: &str) -> Result<Vec<Value>, String> {
    let place = |error: &serde_json::Error, line: usize| format!("line {line}, column {}", error.column());
    if let Ok(whole) = serde_json::from_str::<Value>(text) {
        return Ok(match whole {
            Value::Array(rows) => rows,
            other => vec![other],
        });
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| serde_json::from_str(line).map_err(|error| place(&error, at + 1))).collect()
}

fn csv_rows(text: &str) -> Result<Vec<Value>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.kind_text())?.clone();
    let models: HashSet<&str> = header
        .iter()
        .filter_map(|name| name.strip_suffix("|total_cost").or_else(|| name.strip_suffix("|model_response")))
        .collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.kind_text())?;
        let (mut row, mut outcomes) = (Map::new(), Map::new());
        for (name, value) in header.iter().zip(&record) {
            let number = value.trim().parse::<f64>().ok();
            if models.contains(name) {
                let outcome = outcomes.entry(name).or_insert_with(|| json!({}));
                outcome["score"] = json!(number);
            } else if let Some(model) = name.strip_suffix("|total_cost") {
                let outcome = outcomes.entry(model).or_insert_with(|| json!({}));
                outcome["cost_usd"] = json!(number);
            } else if !name.contains('|') {
                row.insert(name.to_owned(), Value::from(value));
            }
        }
        if !outcomes.is_empty() {
            row.insert("outcomes".into(), Value::Object(outcomes));
        }
        rows.push(Value::Object(row));
    }
    Ok(rows)
}

/// A CSV error without the text it stumbled over.
trait KindText {
    fn kind_text(&self) -> String;
}

impl KindText for csv::Error {
    fn kind_text(&self) -> String {
        self.position().map_or_else(|| "broken".into(), |at| format!("line {}", at.line()))
    }
}

const PROMPT: [&str; 6] = ["prompt", "query", "question", "origin_query", "input", "user_input"];
const MODEL: [&str; 3] = ["model", "model_name", "llm"];
const SCORE: [&str; 7] = ["score", "performance", "quality", "correct", "reward", "rating", "thumbs"];
const TASK: [&str; 6] = ["task", "task_name", "eval_name", "dataset", "dataset_name", "benchmark"];
const COST: [&str; 5] = ["cost_usd", "cost", "total_cost", "response_cost", "spend"];
const INPUT: [&str; 3] = ["input_tokens", "prompt_tokens", "input_token_num"];
const OUTPUT: [&str; 3] = ["output_tokens", "completion_tokens", "output_token_num"];
/// Objects that logs keep these fields in.
const INSIDE: [&str; 7] = ["request", "body", "response", "usage", "metadata", "feedback", "model_parameters"];

/// A field by any of its names, here, around here, or in one of the usual objects.
fn field<'a>(row: &'a Map<String, Value>, around: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    let here = |map: &'a Map<String, Value>| names.iter().find_map(|name| map.get(*name).filter(|it| !it.is_null()));
    here(row).or_else(|| here(around)).or_else(|| {
        INSIDE.iter().find_map(|name| {
            let inner = row.get(*name)?.as_object()?;
            // A response holds its usage.
            here(inner).or_else(|| here(inner.get("usage")?.as_object()?))
        })
    })
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(right) => Some(f64::from(u8::from(*right))),
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

/// The score in [0, 1] by whichever name it goes.
fn score(row: &Map<String, Value>, around: &Map<String, Value>) -> Result<f64, String> {
    for name in SCORE {
        let Some(value) = field(row, around, &[name]) else { continue };
        let score = match (name, value.as_str()) {
            ("thumbs", Some("up")) => Some(1.0),
            ("thumbs", Some("down")) => Some(0.0),
            (_, Some("true" | "True")) => Some(1.0),
            (_, Some("false" | "False")) => Some(0.0),
            ("rating", _) => number(value).map(|stars| (stars - 1.0) / 4.0),
            _ => number(value),
        };
        return match score {
            Some(score) if (0.0..=1.0).contains(&score) => Ok(score),
            _ => Err(format!("its `{name}` is out of range")),
        };
    }
    Err("it has no score".into())
}

/// The text a router would see: the prompt, or the last turn of the user.
fn prompt(row: &Map<String, Value>, around: &Map<String, Value>) -> Option<String> {
    if let Some(Value::String(text)) = field(row, around, &PROMPT) {
        return Some(text.clone()).filter(|text| !text.trim().is_empty());
    }
    let messages = field(row, around, &["messages"])?;
    // Some logs keep messages as JSON in a string.
    let parsed: Value;
    let messages = match messages {
        Value::String(text) => {
            parsed = serde_json::from_str(text).ok()?;
            &parsed
        }
        other => other,
    };
    let last = messages.as_array()?.iter().rev().find(|message| message["role"] == "user")?;
    let text = match &last["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => return None,
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

/// One model's outcome on a prompt, summed up for an average.
#[derive(Debug, Default)]
struct Sum {
    count: f64,
    score: f64,
    others: Map<String, Value>,
}

#[derive(Debug, Default)]
struct Found {
    /// In order of first sight.
    records: Vec<(String, Option<String>, BTreeMap<String, Sum>)>,
    places: HashMap<String, usize>,
    /// Scores taken in.
    scores: usize,
    report: Imported,
}

impl Found {
    fn file(&mut self, file: &Path) -> Result<(), ImportError> {
        let path = file.display().to_string();
        let text = load(file).map_err(|source| ImportError::Io { path: path.clone(), source })?;
        let name = path.trim_end_matches(".gz").to_ascii_lowercase();
        let rows = if name.ends_with(".csv") { csv_rows(&text) } else { json_rows(&text) };
        let rows = rows.map_err(|what| ImportError::Shape { path: path.clone(), what })?;
        let before = self.scores;
        rows.iter().for_each(|row| self.row(row, &Map::new()));
        if self.scores == before {
            let reason = self.report.reason.take().unwrap_or_else(|| "it is empty".into());
            return Err(ImportError::Nothing { path, rows: rows.len(), reason });
        }
        Ok(())
    }

    fn row(&mut self, row: &Value, around: &Map<String, Value>) {
        let Some(row) = row.as_object() else { return self.leave_out("it is no object".into()) };
        if let Some(records) = row.get("records").and_then(Value::as_array) {
            let outside: Map<String, Value> = row
                .iter()
                .filter(|(name, _)| *name != "records")
                .map(|(name, it)| (name.clone(), it.clone()))
                .collect();
            records.iter().for_each(|record| self.row(record, &outside));
            return;
        }
        let Some(text) = prompt(row, around) else { return self.leave_out("it has no prompt".into()) };
        let task = field(row, around, &TASK).and_then(Value::as_str).map(str::to_owned);
        if let Some(outcomes) = row.get("outcomes").and_then(Value::as_object) {
            for (model, outcome) in outcomes {
                match outcome.as_object().map(|it| score(it, &Map::new()).map(|score| (score, it))) {
                    Some(Ok((score, outcome))) => {
                        self.put(&text, task.as_ref(), model, score, extras(outcome, around))
                    }
                    Some(Err(reason)) => self.leave_out(reason),
                    None => self.leave_out("an outcome is no object".into()),
                }
            }
        } else if let Some(scores) = row.get("scores").and_then(Value::as_object) {
            for (model, value) in scores {
                match number(value).filter(|score| (0.0..=1.0).contains(score)) {
                    Some(score) => self.put(&text, task.as_ref(), model, score, Map::new()),
                    None => self.leave_out("a score is out of range".into()),
                }
            }
        } else {
            let model = field(row, around, &MODEL).and_then(Value::as_str).map(str::to_owned);
            match (model, score(row, around)) {
                (Some(model), Ok(score)) => self.put(&text, task.as_ref(), &model, score, extras(row, around)),
                (None, _) => self.leave_out("it names no model".into()),
                (_, Err(reason)) => self.leave_out(reason),
            }
        }
    }

    fn leave_out(&mut self, reason: String) {
        self.report.left_out += 1;
        self.report.reason.get_or_insert(reason);
    }

    fn put(&mut self, prompt: &str, task: Option<&String>, model: &str, score: f64, others: Map<String, Value>) {
        let next = self.records.len();
        let place = *self.places.entry(prompt.to_owned()).or_insert(next);
        if place == next {
            self.records.push((prompt.to_owned(), task.cloned(), BTreeMap::new()));
        }
        self.scores += 1;
        let sum = self.records[place].2.entry(model.to_owned()).or_default();
        sum.count += 1.0;
        sum.score += score;
        sum.others.extend(others);
    }

    fn write(mut self, source: &str, dir: &Path) -> std::io::Result<Imported> {
        let mut files = Vec::new();
        for split in Split::ALL {
            let folder = dir.join(split.as_str());
            fs::create_dir_all(&folder)?;
            files.push(BufWriter::new(File::create(folder.join(format!("{source}.jsonl")))?));
        }
        let mut models = HashSet::new();
        for (prompt, task, outcomes) in &self.records {
            let code = hash(prompt);
            let outcomes: Map<String, Value> = outcomes
                .iter()
                .map(|(model, sum)| {
                    models.insert(model.clone());
                    let mut outcome = sum.others.clone();
                    outcome.insert("score".into(), json!(sum.score / sum.count));
                    (model.clone(), Value::Object(outcome))
                })
                .collect();
            self.report.outcomes += outcomes.len();
            let mut record = json!({"id": format!("{source}-{code:016x}"), "source": source, "group": format!("{code:016x}"),
                "prompt": prompt, "outcomes": outcomes});
            if let Some(task) = task {
                record["task"] = json!(task);
            }
            // FNV's low bits follow the last letters; the high ones are mixed.
            let file = match (code >> 32) % 6 {
                0 => 1,
                1 => 2,
                _ => 0,
            };
            serde_json::to_writer(&mut files[file], &record)?;
            files[file].write_all(b"\n")?;
        }
        files.iter_mut().try_for_each(Write::flush)?;
        self.report.prompts = self.records.len();
        self.report.models = models.len();
        Ok(self.report)
    }
}

/// Cost, tokens and latency, where the row has them.
fn extras(row: &Map<String, Value>, around: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(value) = value.filter(|value| value.is_finite() && *value >= 0.0) {
            found.insert(name.to_owned(), json!(value));
        }
    };
    let read = |names: &[&str]| field(row, around, names).and_then(number);
    put("cost_usd", read(&COST));
    put("input_tokens", read(&INPUT));
    put("output_tokens", read(&OUTPUT));
    put("latency_ms", read(&["latency_ms"]).or_else(|| read(&["response_time"]).map(|seconds| seconds * 1000.0)));
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, Limits, read};
    use super::*;

    fn imported(name: &str, text: &str) -> (Dataset, Imported) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        let out = dir.path().join("set");
        let report = import(&[file], "theirs", &out).unwrap();
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
        assert_eq!(report.reason.as_deref(), Some("it has no score"));
        assert_eq!(outcome(&dataset, "a", "m2").0, 0.5);
        let grouped = r#"{"model_name":"m3","dataset_name":"d","records":[{"origin_query":"q","score":true,"prompt_tokens":7}]}"#;
        let (dataset, _) = imported("grouped.json", grouped);
        assert_eq!(outcome(&dataset, "q", "m3").0, 1.0);
        let scores = "{\"question\":\"q\",\"scores\":{\"a\":0.5,\"b\":2}}\n";
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
        let report = import(&files, "both", &dir.path().join("set")).unwrap();
        assert_eq!((report.prompts, report.models, report.outcomes), (1, 2, 2));
        let empty = dir.path().join("empty.jsonl");
        fs::write(&empty, "{\"prompt\":\"a\"}\n").unwrap();
        let error = import(&[&files[0], &empty], "both", dir.path()).unwrap_err().to_string();
        assert!(error.contains("empty.jsonl"), "{error}");
    }

    #[test]
    fn our_own_records_pass_and_nothing_is_invented() {
        let own = "{\"prompt\":\"p\",\"task\":\"x/y\",\"outcomes\":{\"m\":{\"score\":0.5,\"latency_ms\":3}}}\n";
        assert_eq!(outcome(&imported("own.jsonl", own).0, "p", "m").0, 0.5);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.jsonl");
        fs::write(&file, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"secret\"}]}\n").unwrap();
        let error = import(&[&file], "x", dir.path()).unwrap_err().to_string();
        assert!(error.contains("no score") && !error.contains("secret"), "{error}");
        fs::write(&file, "{\"model\": secret").unwrap();
        let error = import(&[&file], "x", dir.path()).unwrap_err().to_string();
        assert!(error.contains("column") && !error.contains("secret"), "{error}");
    }
}
