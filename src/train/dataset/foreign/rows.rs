//! From files to rows, without regard to what they mean.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::train::dataset::gzip;

/// Most bytes of a file after decompression: it is in memory as a whole while its prompts are merged.
const LARGEST: u64 = 2 << 30;

/// Objects in which logs keep a row's fields.
pub(super) const INSIDE: [&str; 7] =
    ["request", "body", "response", "usage", "metadata", "feedback", "model_parameters"];

/// Lists of rows in an object whose other fields are about all of them.
pub(super) const LISTS: [&str; 2] = ["records", "data"];

/// The field into which [`unpacked`] gathers columns for each model; `outcomes` is for this project's own records.
pub(super) const WIDE: &str = "|outcomes";

/// The rows of a file, each with its position.
pub(super) struct Rows {
    /// What positions count: lines or entries.
    pub unit: &'static str,
    /// Position, from 1, and row.
    pub rows: Vec<(usize, Value)>,
    /// Positions without a row, and why.
    pub broken: Vec<(usize, String)>,
}

pub(super) fn load(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = gzip::open(file)?
        .take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|error| of_parquet(file).unwrap_or(error))?;
    if read as u64 == LARGEST {
        return Err(std::io::Error::other(format!("larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}

/// What to say of a Parquet file, which only exports of a decision log are here.
fn of_parquet(file: &Path) -> Option<std::io::Error> {
    let mut begin = [0; 4];
    File::open(file).and_then(|mut open| open.read_exact(&mut begin)).ok()?;
    let what = format!("this is a Parquet file; if {}", super::OWN_LOG);
    (begin == *b"PAR1").then(|| std::io::Error::other(what))
}

/// The character between the columns: what spreadsheets write where the comma is for decimals, and tabs, only where the
/// first line is one column by commas.
fn delimiter(text: &str) -> u8 {
    let columns = |delimiter: &u8| {
        let mut reader = csv::ReaderBuilder::new().delimiter(*delimiter).from_reader(text.as_bytes());
        reader.headers().map_or(0, csv::StringRecord::len)
    };
    [b',', b';', b'\t'].into_iter().find(|it| columns(it) > 1).unwrap_or(b',')
}

impl Rows {
    /// The rows of JSON or JSON lines.
    pub(super) fn of_json(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let place = |error: &serde_json::Error, line: usize| format!("line {line}, column {}", error.column());
        if let Ok(whole) = serde_json::from_str::<Value>(text) {
            let rows = match whole {
                Value::Array(rows) => rows,
                other => vec![other],
            };
            let rows = (1..).zip(rows.into_iter().map(unpacked)).collect();
            return Ok(Self { unit: "entry", rows, broken: Vec::new() });
        }
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let parse = |(at, line): (usize, &str)| {
            serde_json::from_str(line).map(|row| (at, unpacked(row))).map_err(|error| place(&error, at))
        };
        Ok(Self { unit: "line", rows: lines.map(parse).collect::<Result<_, _>>()?, broken: Vec::new() })
    }

    /// The rows of CSV with a header.
    pub(super) fn of_csv(text: &str) -> Result<Self, String> {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter(text)).flexible(true).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| place(&error))?.clone();
        let (mut rows, mut broken) = (Vec::new(), Vec::new());
        // Counted here: the reader's own count is one behind where lines end in CR LF.
        let (bytes, mut before, mut line) = (text.as_bytes(), 0, 1);
        for record in reader.records() {
            let record = record.map_err(|error| place(&error))?;
            let from = record.position().map_or(before, |at| at.byte() as usize).clamp(before, bytes.len());
            let from = from + bytes[from..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
            line += bytes[before..from].iter().filter(|byte| **byte == b'\n').count();
            before = from;
            // A truncated line, or a delimiter outside quotation marks: columns cannot be told apart.
            if record.len() != header.len() {
                broken.push((line, format!("{} fields under a header of {}", record.len(), header.len())));
                continue;
            }
            let row: Map<String, Value> =
                header.iter().zip(&record).map(|(name, value)| (name.to_owned(), value.into())).collect();
            rows.push((line, unpacked(Value::Object(row))));
        }
        Ok(Self { unit: "line", rows, broken })
    }
}

/// Position of a CSV error, without the text around it.
fn place(error: &csv::Error) -> String {
    error.position().map_or_else(|| "broken".into(), |at| format!("line {}", at.line()))
}

/// A row with nested objects parsed, which some logs keep as JSON in a string, and its columns for each model gathered.
fn unpacked(row: Value) -> Value {
    let Value::Object(mut row) = row else { return row };
    for name in LISTS {
        if let Some(Value::Array(rows)) = row.get_mut(name) {
            rows.iter_mut().for_each(|row| *row = unpacked(row.take()));
        }
    }
    for name in INSIDE {
        let Some(Value::String(text)) = row.get(name) else { continue };
        let inner = Some(text).filter(|text| text.trim_start().starts_with('{'));
        if let Some(inner @ Value::Object(_)) = inner.and_then(|text| serde_json::from_str(text).ok()) {
            row.insert(name.into(), inner);
        }
    }
    let of_model = |name: &str| -> Option<String> {
        let model = name.strip_suffix("|total_cost").or_else(|| name.strip_suffix("|model_response"))?;
        Some(model.to_owned())
    };
    let models: BTreeSet<String> = row.keys().filter_map(|name| of_model(name)).collect();
    if models.is_empty() || row.contains_key("outcomes") {
        return Value::Object(row);
    }
    let mut outcomes = Map::new();
    for model in models {
        let score = row.remove(&model).unwrap_or(Value::Null);
        let mut outcome = json!({ "score": score });
        if let Some(cost) = row.remove(&format!("{model}|total_cost")) {
            outcome["cost_usd"] = cost;
        }
        outcomes.insert(model, outcome);
    }
    row.insert(WIDE.into(), Value::Object(outcomes));
    Value::Object(row)
}
