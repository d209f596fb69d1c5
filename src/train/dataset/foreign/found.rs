//! The outcomes of all files, merged by prompt and written as a data set.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::Split;
use super::super::read::hash;
use super::row::{Asked, Seen, Told, extras, outcomes};
use super::rows::{Rows, load};
use super::scale::{Scales, Unfit};
use super::{Called, ImportError, Imported};

/// One model's outcome on a prompt, summed up for an average.
#[derive(Debug, Default)]
struct Sum {
    count: f64,
    score: f64,
    others: Map<String, Value>,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    /// Prompts in order of first occurrence.
    records: Vec<(Asked, BTreeMap<String, Sum>)>,
    /// Index of each prompt, by its key: the prompt, and for this project's own records also their own fields.
    places: HashMap<Asked, usize>,
    /// Number of scores taken in.
    scores: usize,
    report: Imported,
}

impl Found {
    /// Takes in a file.
    pub(super) fn file(&mut self, file: &Path) -> Result<(), ImportError> {
        let path = file.display().to_string();
        let text = load(file).map_err(|source| ImportError::Io { path: path.clone(), source })?;
        let name = path.to_ascii_lowercase();
        let name = name.trim_end_matches(".gz");
        let is_table = [".csv", ".tsv"].iter().any(|end| name.ends_with(end));
        let rows = if is_table { Rows::of_csv(&text) } else { Rows::of_json(&text) };
        let Rows { unit, rows, broken } = rows.map_err(|what| ImportError::Shape { path: path.clone(), what })?;
        let around = Map::new();
        let mut scales = Scales::default();
        for (place, row) in &rows {
            let note = &mut |seen: Told<'_>| {
                seen.into_iter().for_each(|(_, seen)| scales.note(seen.score, *place));
            };
            outcomes(row, &around, note);
        }
        let percent = scales.percent().map_err(|Unfit { column, value, place }| ImportError::Scale {
            path: path.clone(),
            place: format!("{unit} {place}"),
            column,
            value,
        })?;
        self.report
            .notes
            .extend(percent.iter().map(|column| format!("{path}: `{column}` goes up to 100 and is divided by it")));
        broken.iter().for_each(|(place, reason)| self.leave_out(|| format!("{unit} {place}: {reason}")));
        let before = self.scores;
        for (place, row) in &rows {
            outcomes(row, &around, &mut |seen| match seen {
                Ok((asked, seen)) => self.put(asked, &seen, scales.brought(seen.score)),
                Err(reason) => self.leave_out(|| format!("{unit} {place}: {reason}")),
            });
        }
        if self.scores == before {
            let reason = self.report.reason.take().unwrap_or_else(|| "it is empty".into());
            return Err(ImportError::Nothing { path, rows: rows.len() + broken.len(), reason });
        }
        Ok(())
    }

    fn leave_out(&mut self, reason: impl FnOnce() -> String) {
        self.report.left_out += 1;
        self.report.reason.get_or_insert_with(reason);
    }

    fn put(&mut self, asked: &Asked, seen: &Seen<'_>, score: f64) {
        let next = self.records.len();
        // Rows that name the task differently, or not at all, may still be of the same prompt.
        let place = *self.places.entry(Asked { task: None, ..asked.clone() }).or_insert(next);
        if place == next {
            self.records.push((asked.clone(), BTreeMap::new()));
        }
        self.scores += 1;
        let sum = self.records[place].1.entry(seen.model.to_owned()).or_default();
        sum.count += 1.0;
        sum.score += score;
        sum.others.extend(seen.fields.map(extras).unwrap_or_default());
    }

    /// Writes the data set: beside its places, and moved there when all is written. What ends on a full disk leaves an
    /// earlier import as it was, and nothing that would be read as data.
    pub(super) fn write(mut self, called: Called<'_>, dir: &Path) -> std::io::Result<Imported> {
        let places = Split::ALL.map(|split| dir.join(split.as_str()).join(format!("{}.jsonl", called.name())));
        let parts = places.each_ref().map(|place| place.with_extension("part"));
        let written = self.fill(called, &parts);
        let moved = written.and_then(|()| parts.iter().zip(&places).try_for_each(|(part, to)| fs::rename(part, to)));
        if moved.is_err() {
            parts.iter().for_each(|part| _ = fs::remove_file(part));
        }
        moved.map(|()| self.report)
    }

    /// Writes one file for each of [`Split::ALL`], and counts what it writes.
    fn fill(&mut self, called: Called<'_>, paths: &[PathBuf]) -> std::io::Result<()> {
        let name = called.name();
        let mut files = Vec::new();
        for path in paths {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            files.push(BufWriter::new(File::create(path)?));
        }
        let (mut models, mut ids) = (HashSet::new(), HashSet::new());
        for (asked, outcomes) in &self.records {
            let code = hash(asked.group.as_ref().unwrap_or(&asked.prompt));
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
            let own = asked.id.clone().unwrap_or_else(|| format!("{name}-{:016x}", hash(&asked.prompt)));
            let mut copies = (1..).map(|copy| if copy == 1 { own.clone() } else { format!("{own}-{copy}") });
            let id = copies.find(|id| ids.insert(id.clone())).unwrap_or_default();
            let source = match called {
                Called::Always(name) => name,
                Called::Unless(name) => asked.source.as_deref().unwrap_or(name),
            };
            let group = asked.group.clone().unwrap_or_else(|| format!("{code:016x}"));
            let mut record =
                json!({"id": id, "source": source, "group": group, "prompt": asked.prompt, "outcomes": outcomes});
            for (name, value) in [("task", &asked.task), ("origin", &asked.origin)] {
                if let Some(value) = value {
                    record[name] = json!(value);
                }
            }
            let file = Split::of(code) as usize;
            serde_json::to_writer(&mut files[file], &record)?;
            files[file].write_all(b"\n")?;
        }
        files.iter_mut().try_for_each(Write::flush)?;
        self.report.prompts = self.records.len();
        self.report.models = models.len();
        Ok(())
    }
}
