//! What goes out comes back.

use super::*;
use crate::protocol::{DecisionId, ModelName, Usage};
use crate::store::{
    DecisionRecord, FeedbackKind, FeedbackRecord, Mode, OutcomeRecord, OutcomeStatus, RequestFacts, Thumb,
};

fn entry(number: u128) -> Entry {
    let id = DecisionId(uuid::Uuid::from_u128(number));
    let json = serde_json::json!({
        "id": id, "at_ms": 1_700_000_000_000_i64 + number as i64, "chosen": "gpt-4o", "policy_version": 3,
        "features": [0.25, -1.5], "feature_space": "encoder/2", "explored": number.is_multiple_of(2),
        "candidates": [{"model": "gpt-4o", "prior": 0.7, "quality": 0.75, "quality_source": "posterior", "cost_usd": 0.01,
            "utility": 0.7, "propensity": 0.9}],
    });
    let mut decision: DecisionRecord = serde_json::from_value(json).unwrap();
    decision.request = RequestFacts { requested: "auto".into(), ..RequestFacts::default() };
    decision.mode = Mode::Learned;
    decision.propensity = (!number.is_multiple_of(3)).then_some(0.9);
    let usage = Usage { input_tokens: 100, cache_read_tokens: 20, output_tokens: 30, ..Usage::default() };
    let outcome = OutcomeRecord {
        model: Some(ModelName::from("gpt-4o")),
        attempts: 1,
        usage: Some(usage),
        cost_usd: Some(0.0125),
        ..OutcomeRecord::ended(id, 5, OutcomeStatus::Ok)
    };
    let feedback = FeedbackRecord {
        seq: 4,
        comment: Some("schön, \"wirklich\"\nja".into()),
        ..FeedbackRecord::of(id, "a", FeedbackKind::Thumbs(Thumb::Up), 9)
    };
    let rated = number % 2 == 1;
    Entry { decision, outcome: Some(outcome), feedback: if rated { vec![feedback] } else { vec![] } }
}

#[cfg(unix)]
#[test]
fn an_export_is_its_owners_unless_the_one_before_was_shown_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let mode_of_next = || {
        let mut export = Exporter::create(&path, Format::JsonLines).unwrap();
        export.write(&entry(1)).unwrap();
        assert_eq!(export.finish().unwrap(), 1);
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode_of_next(), 0o600, "prompts may be in it");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(mode_of_next(), 0o640);
}

#[cfg(unix)]
#[test]
fn what_lies_where_an_export_is_begun_is_neither_written_through_nor_kept() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (path, part, victim) = (at("log.jsonl"), at("log.jsonl.part"), at("victim"));
    let export = || {
        let mut export = Exporter::create(&path, Format::JsonLines).unwrap();
        export.write(&entry(1)).unwrap();
        export.finish().unwrap();
        let made = std::fs::symlink_metadata(&path).unwrap();
        assert!(made.is_file());
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
    };
    std::fs::write(&victim, "kept").unwrap();
    std::os::unix::fs::symlink(&victim, &part).unwrap();
    export();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
    std::fs::write(&part, "").unwrap();
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o666)).unwrap();
    export();
}

#[test]
fn what_was_there_stays_until_the_new_one_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    std::fs::write(&path, "of before").unwrap();
    for format in [Format::JsonLines, Format::Parquet] {
        let mut begun = Exporter::create(&path, format).unwrap();
        begun.write(&entry(1)).unwrap();
        drop(begun);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of before");
    }
    let mut whole = Exporter::create(&path, Format::JsonLines).unwrap();
    whole.write(&entry(1)).unwrap();
    assert_eq!(whole.finish().unwrap(), 1);
    let there: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(there, ["log.jsonl"]);
    assert!(std::fs::read_to_string(&path).unwrap().contains("gpt-4o"));
}

#[test]
fn a_number_that_json_cannot_say_costs_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let mut infinite = entry(1);
    infinite.decision.candidates[0].utility = f64::INFINITY;
    let mut exporter = Exporter::create(&path, Format::JsonLines).unwrap();
    [infinite, entry(2)].iter().for_each(|entry| exporter.write(entry).unwrap());
    exporter.finish().unwrap();
    let mut utilities = Vec::new();
    read_entries(&path, |entry| {
        utilities.push(entry.decision.candidates[0].utility);
        true
    })
    .unwrap();
    assert_eq!(utilities, [0.0, 0.7]);
}

#[test]
fn both_formats_bring_every_field_back() {
    let dir = tempfile::tempdir().unwrap();
    let entries: Vec<Entry> = (0..25).map(entry).collect();
    for name in ["log.jsonl", "log.parquet"] {
        let path = dir.path().join(name);
        let mut exporter = Exporter::create(&path, Format::of(&path)).unwrap();
        entries.iter().for_each(|entry| exporter.write(entry).unwrap());
        assert_eq!(exporter.finish().unwrap(), 25);
        let mut back = Vec::new();
        read_entries(&path, |entry| {
            back.push(entry);
            true
        })
        .unwrap();
        assert_eq!(back, entries, "{name}");
    }
}

#[test]
fn columns_say_what_the_table_says() {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.parquet");
    let mut exporter = Exporter::create(&path, Format::Parquet).unwrap();
    (0..3).for_each(|number| exporter.write(&entry(number)).unwrap());
    exporter.finish().unwrap();
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let rows: Vec<std::collections::HashMap<String, Field>> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1]["chosen"], Field::Str("gpt-4o".into()));
    assert_eq!(rows[1]["input_tokens"], Field::Long(120));
    assert_eq!(rows[1]["verdict"], Field::Double(1.0));
    assert_eq!(rows[1]["feedbacks"], Field::Long(1));
    assert_eq!((&rows[0]["propensity"], &rows[0]["verdict"]), (&Field::Null, &Field::Null));
    assert_eq!(rows[2]["explored"], Field::Bool(true));
}

#[test]
fn what_went_out_comes_back_however_long_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let mut long = entry(1);
    long.decision.prompt = Some("\"".repeat(9 << 20));
    let mut exporter = Exporter::create(&path, Format::JsonLines).unwrap();
    exporter.write(&long).unwrap();
    exporter.write(&entry(2)).unwrap();
    exporter.finish().unwrap();
    let mut back = Vec::new();
    read_entries(&path, |entry| {
        back.push(entry);
        true
    })
    .unwrap();
    assert!(back == [long, entry(2)]);
}

#[test]
fn a_line_that_is_no_entry_is_named_and_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let good = String::from_utf8(line(&entry(1)).unwrap()).unwrap();
    std::fs::write(&path, format!("{good}\n{{\"decision\": \"a secret prompt\"}}\n")).unwrap();
    let error = read_entries(&path, |_| true).unwrap_err().to_string();
    assert!(error.contains("line 3") && !error.contains("secret"), "{error}");
}

#[test]
fn a_last_line_that_was_cut_off_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let good = String::from_utf8(line(&entry(1)).unwrap()).unwrap();
    let half = &good[..good.len() / 2];
    let read = |text: String| {
        std::fs::write(&path, text).unwrap();
        let mut count = 0;
        let cut = read_entries(&path, |_| {
            count += 1;
            true
        });
        (count, cut.ok())
    };
    assert_eq!(read(format!("{good}{good}")), (2, Some(None)));
    assert_eq!(read(format!("{good}{half}")), (1, Some(Some(2))));
    assert_eq!(read(format!("{good}{half}\n")), (1, None), "a whole line that is none is an error");
    assert_eq!(read(half.to_owned()), (0, None));
}

#[test]
fn what_another_program_has_written_again_is_read() {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    let dir = tempfile::tempdir().unwrap();
    let json = serde_json::to_string(&entry(1)).unwrap();
    let path = dir.path().join("again.parquet");
    let schema = parse_message_type("message duckdb_schema { required binary entry (UTF8); }").unwrap();
    // As DuckDB and pyarrow pack it.
    let properties = WriterProperties::builder().set_compression(::parquet::basic::Compression::SNAPPY).build();
    let file = File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema.into(), properties.into()).unwrap();
    let mut rows = writer.next_row_group().unwrap();
    let mut column = rows.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[ByteArray::from(json.as_str())], None, None).unwrap();
    column.close().unwrap();
    rows.close().unwrap();
    writer.close().unwrap();
    let marked = dir.path().join("marked.jsonl");
    std::fs::write(&marked, format!("\u{feff}{json}\n")).unwrap();
    for path in [path, marked] {
        let mut back = Vec::new();
        read_entries(&path, |entry| {
            back.push(entry);
            true
        })
        .unwrap();
        assert_eq!(back, [entry(1)], "{}", path.display());
    }
}

#[test]
fn somebody_elses_parquet_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.parquet");
    std::fs::write(&path, b"PAR1 not really").unwrap();
    assert!(matches!(read_entries(&path, |_| true).unwrap_err(), ExchangeError::Parquet { .. }));
}
