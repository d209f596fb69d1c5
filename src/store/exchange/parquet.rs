//! Entries as Parquet columns.
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | `id` | string | the decision |
//! | `at_ms` | int64 | when it was made, Unix milliseconds |
//! | `mode` | string | how the model came to be chosen |
//! | `chosen` | string | the chosen model |
//! | `propensity` | double, optional | probability with which it was chosen |
//! | `policy_version` | int64 | the policy that chose; 0 = none |
//! | `explored` | boolean | another model had a higher utility |
//! | `task` | string, optional | the task that the classifier recognised |
//! | `answered_by` | string, optional | the model that answered |
//! | `status` | string, optional | `ok`, `cancelled`, or the error's code |
//! | `cost_usd` | double, optional | what it cost |
//! | `latency_ms` | double, optional | from arrival to the last byte |
//! | `input_tokens`, `output_tokens` | int64, optional | prompt tokens, cached ones included; generated tokens |
//! | `verdict` | double, optional | what feedback says, 0 to 1 |
//! | `feedbacks` | int64 | how many there were |
//! | `entry` | string | the whole entry as JSON |

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical, ZstdLevel};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::record::Field;
use ::parquet::schema::types::{Type, TypePtr};

use super::{ExchangeError, parse};
use crate::store::record::{Entry, OutcomeRecord};

/// Entries of one row group.
const GROUP: usize = 2_000;

/// A Parquet file under construction.
pub(super) struct Table {
    writer: SerializedFileWriter<File>,
    rows: Vec<Entry>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("waiting", &self.rows.len()).finish_non_exhaustive()
    }
}

fn column(name: &str, physical: Physical, optional: bool) -> Result<TypePtr, ParquetError> {
    let repetition = if optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let text = if physical == Physical::BYTE_ARRAY { ConvertedType::UTF8 } else { ConvertedType::NONE };
    let built =
        Type::primitive_type_builder(name, physical).with_repetition(repetition).with_converted_type(text).build()?;
    Ok(Arc::new(built))
}

impl Table {
    pub(super) fn new(file: File) -> Result<Self, ParquetError> {
        let text = Physical::BYTE_ARRAY;
        let columns = [
            column("id", text, false)?,
            column("at_ms", Physical::INT64, false)?,
            column("mode", text, false)?,
            column("chosen", text, false)?,
            column("propensity", Physical::DOUBLE, true)?,
            column("policy_version", Physical::INT64, false)?,
            column("explored", Physical::BOOLEAN, false)?,
            column("task", text, true)?,
            column("answered_by", text, true)?,
            column("status", text, true)?,
            column("cost_usd", Physical::DOUBLE, true)?,
            column("latency_ms", Physical::DOUBLE, true)?,
            column("input_tokens", Physical::INT64, true)?,
            column("output_tokens", Physical::INT64, true)?,
            column("verdict", Physical::DOUBLE, true)?,
            column("feedbacks", Physical::INT64, false)?,
            column("entry", text, false)?,
        ];
        let schema = Type::group_type_builder("log").with_fields(columns.to_vec()).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { writer, rows: Vec::new() })
    }

    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), ParquetError> {
        self.rows.push(entry.clone());
        if self.rows.len() >= GROUP { self.write_group() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<(), ParquetError> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        self.writer.close()?;
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = Group { writer: self.writer.next_row_group()?, rows: &rows };
        let outcome = |entry: &Entry| entry.outcome.clone();
        let of = |entry: &Entry, part: &dyn Fn(&OutcomeRecord) -> Option<f64>| outcome(entry).as_ref().and_then(part);
        let json = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        let mut json = json.map_err(|error| ParquetError::External(Box::new(error)))?.into_iter();
        group.text(|entry| entry.decision.id.to_string())?;
        group.whole(|entry| entry.decision.at_ms)?;
        group.text(|entry| entry.decision.mode.as_str().to_owned())?;
        group.text(|entry| entry.decision.chosen.to_string())?;
        group.maybe::<DoubleType>(|entry| entry.decision.propensity)?;
        group.whole(|entry| entry.decision.policy_version as i64)?;
        group.all::<BoolType>(|entry| entry.decision.explored)?;
        group.maybe_text(|entry| entry.decision.task.clone())?;
        group.maybe_text(|entry| entry.answered_by().map(ToString::to_string))?;
        group.maybe_text(|entry| entry.outcome.as_ref().map(|outcome| outcome.status.as_str().to_owned()))?;
        group.maybe::<DoubleType>(|entry| of(entry, &|outcome| outcome.cost_usd))?;
        group.maybe::<DoubleType>(|entry| of(entry, &|outcome| outcome.latency_ms))?;
        let usage = |entry: &Entry| entry.outcome.as_ref()?.usage.map(|usage| usage.billed());
        group.maybe::<Int64Type>(|entry| usage(entry).map(|usage| usage.prompt_tokens() as i64))?;
        group.maybe::<Int64Type>(|entry| usage(entry).map(|usage| usage.output_tokens as i64))?;
        group.maybe::<DoubleType>(Entry::verdict)?;
        group.whole(|entry| entry.feedback.len() as i64)?;
        group.text(|_| json.next().unwrap_or_default())?;
        group.writer.close()?;
        Ok(())
    }
}

/// One row group under construction: columns are written in the order of the schema.
struct Group<'a> {
    writer: SerializedRowGroupWriter<'a, File>,
    rows: &'a [Entry],
}

impl Group<'_> {
    fn all<T: DataType>(&mut self, of: impl FnMut(&Entry) -> T::T) -> Result<(), ParquetError> {
        let values: Vec<T::T> = self.rows.iter().map(of).collect();
        self.column::<T>(&values, None)
    }

    fn maybe<T: DataType>(&mut self, of: impl FnMut(&Entry) -> Option<T::T>) -> Result<(), ParquetError> {
        let values: Vec<Option<T::T>> = self.rows.iter().map(of).collect();
        let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<T::T> = values.into_iter().flatten().collect();
        self.column::<T>(&values, Some(&levels))
    }

    fn whole(&mut self, of: impl FnMut(&Entry) -> i64) -> Result<(), ParquetError> {
        self.all::<Int64Type>(of)
    }

    fn text(&mut self, mut of: impl FnMut(&Entry) -> String) -> Result<(), ParquetError> {
        self.all::<ByteArrayType>(|entry| ByteArray::from(of(entry).into_bytes()))
    }

    fn maybe_text(&mut self, mut of: impl FnMut(&Entry) -> Option<String>) -> Result<(), ParquetError> {
        self.maybe::<ByteArrayType>(|entry| of(entry).map(|text| ByteArray::from(text.into_bytes())))
    }

    fn column<T: DataType>(&mut self, values: &[T::T], levels: Option<&[i16]>) -> Result<(), ParquetError> {
        let Some(mut column) = self.writer.next_column()? else {
            return Err(ParquetError::General("more columns than the schema has".into()));
        };
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()
    }
}

/// Reads the entries back from the column `entry`.
pub(super) fn read(path: &Path, mut visit: impl FnMut(Entry) -> bool) -> Result<(), ExchangeError> {
    let failed = |source| ExchangeError::Io { path: path.to_owned(), source };
    let broken = |source| ExchangeError::Parquet { path: path.to_owned(), source };
    let reader = SerializedFileReader::new(File::open(path).map_err(failed)?).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema();
    let columns = schema.get_fields();
    let Some(entry) = columns.iter().find(|column| column.name() == "entry") else {
        return Err(ExchangeError::NoEntries { path: path.to_owned() });
    };
    // Its root has the name that the program gave it which wrote the file.
    let only =
        Type::group_type_builder(schema.name()).with_fields(vec![Arc::clone(entry)]).build().map_err(broken)?;
    for (at, row) in reader.get_row_iter(Some(only)).map_err(broken)?.enumerate() {
        let row = row.map_err(broken)?;
        let Some((_, Field::Str(json))) = row.get_column_iter().next() else {
            return Err(ExchangeError::NoEntries { path: path.to_owned() });
        };
        if !visit(parse(path, at + 1, json.as_bytes())?) {
            break;
        }
    }
    Ok(())
}
