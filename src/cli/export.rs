//! `pointsman export`: the decision log as a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use super::WrongUse;
use super::load::ConfigArgs;
use super::progress::Count;
use crate::store::{ExchangeError, Exporter, Format, HandOver, Order, Span, Store, read_entries};

/// Write the decision log to a file, as JSON lines or Parquet
///
/// Reads the decision log of a gateway that is not running. A running one exports it itself, as JSON lines:
///
/// curl -H "authorization: Bearer $TOKEN" http://127.0.0.1:3200/api/admin/export > log.jsonl
///
/// and `--from log.jsonl` turns that into Parquet. data/README.md describes both formats.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The file to write; a name that ends in .parquet makes it Parquet; "-" = standard output
    file: PathBuf,
    /// The format, if the file's name does not say it: one JSON object a line, or columns
    #[arg(long, value_parser = format())]
    format: Option<Format>,
    /// Convert this export instead of reading the store
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Not before this moment, as 2026-11-24T00:00:00Z, or this day (UTC), as 2026-11-24
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before this moment or day; to the end of the decision log if absent
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Reads a format on the command line.
fn format() -> impl TypedValueParser<Value = Format> {
    let names = PossibleValuesParser::new(["jsonl", "parquet"]);
    names.map(|name| if name == "parquet" { Format::Parquet } else { Format::JsonLines })
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let format = args.format.unwrap_or_else(|| Format::of(&args.file));
    // No end by default: a clock that was ahead may have left entries later than now.
    let until_ms = args.until.map(Timestamp::as_millisecond);
    let from_ms = args.since.map(Timestamp::as_millisecond);
    if from_ms.zip(until_ms).is_some_and(|(from, until)| from >= until) {
        return Err(WrongUse("nothing can lie between --since and --until, which is not later".into()).into());
    }
    let wanted = |at_ms: i64| from_ms.is_none_or(|from| at_ms >= from) && until_ms.is_none_or(|until| at_ms < until);
    let mut count = Count::of("entries written");
    let mut failed: Option<ExchangeError> = None;
    let onto_stdout = args.file == Path::new("-");
    let written_as = if format == Format::Parquet { "Parquet" } else { "JSON Lines" };
    let mut exporter =
        if onto_stdout { Exporter::standard_output(format)? } else { Exporter::create(&args.file, format)? };
    if let Some(from) = &args.from {
        let cut = read_entries(from, |entry| {
            if wanted(entry.decision.at_ms) {
                failed = exporter.write(&entry).err();
                count.another();
            }
            failed.is_none()
        })?;
        super::warn_cut(from, cut);
    } else {
        let loaded = args.config.load()?;
        let dir = &loaded.config.server.data_dir;
        let _handed = HandOver::of(dir);
        let store = Store::open_existing(dir, &loaded.config.store).context(
            "the decision log cannot be opened; a running gateway exports it itself: GET /api/admin/export",
        )?;
        let span = Span { from_ms, until_ms, ..Span::default() };
        store.walk(&span, Order::Oldest, |entry| {
            failed = exporter.write(&entry).err();
            count.another();
            failed.is_none()
        })?;
    }
    count.end();
    if let Some(error) = failed {
        return Err(error.into());
    }
    let count = exporter.finish()?;
    if onto_stdout {
        eprintln!("{count} entries written");
    } else {
        println!("{count} entries written to {} as {written_as}", args.file.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A moment, or the beginning of a day.
fn moment(text: &str) -> Result<Timestamp, String> {
    // A time without a zone is refused: parsed as a day it would lose its time.
    let is_day = text.bytes().all(|letter| letter.is_ascii_digit() || letter == b'-');
    let day = || Some(text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp());
    let wrong = "must be a moment, as 2026-11-24T00:00:00Z, or a day, as 2026-11-24";
    text.parse().ok().or_else(|| day().filter(|_| is_day)).ok_or_else(|| wrong.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_in_which_nothing_can_lie_is_refused_and_an_earlier_export_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log.jsonl");
        std::fs::write(&file, "an earlier export").unwrap();
        let args = ExportArgs {
            file: file.clone(),
            format: None,
            from: Some(file.clone()),
            since: moment("2026-12-01").ok(),
            until: moment("2026-11-01").ok(),
            config: ConfigArgs::default(),
        };
        let error = run(&args).unwrap_err().to_string();
        assert!(error.contains("nothing can lie between"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "an earlier export");
    }

    #[test]
    fn a_day_is_its_beginning() {
        assert_eq!(moment("2026-11-24"), moment("2026-11-24T00:00:00Z"));
        assert_eq!(moment("2026-11-24T01:00:00+02:00"), moment("2026-11-23T23:00:00Z"));
        for neither in ["yesterday", "2026-11-24T01:00:00", "2026-11-24 01:00", "2026-11-24T01:00:00[Europe/Berlin]"]
        {
            assert!(moment(neither).is_err(), "{neither}");
        }
    }
}
