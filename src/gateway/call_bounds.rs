//! Upper bounds for a caller's report of its own call: higher figures are a slip or a lie, and would distort
//! everybody's choices for long.
//!
//! The bounds are generous, so that no honest report meets one: windows grow before the configuration says so, and
//! vendors charge for more than tokens (searches, priority, long prompts).

use super::call_report::CallReport;
use crate::config::Model;
use crate::protocol::{ApiError, Usage};

/// Tokens are believed up to this many times the model's configured window.
const WINDOW_FACTOR: u64 = 4;

/// Tokens of a prompt or an answer that are believed of any model, however small its configured window.
const MIN_TOKEN_BOUND: u64 = 1_000_000;

/// Dollars that are believed of any call, however cheap its model.
const MIN_USD_BOUND: f64 = 1.0;

/// The longest believed time of a call: a day.
const MAX_CALL_MS: f64 = 86_400_000.0;

/// Refuses figures that no call of the model can have.
///
/// # Errors
///
/// `InvalidRequest`, naming the field and its bounds.
pub(super) fn check(report: &CallReport, model: Option<&Model>) -> Result<(), ApiError> {
    let window = |tokens: Option<u32>| (WINDOW_FACTOR * u64::from(tokens.unwrap_or(0))).max(MIN_TOKEN_BOUND);
    let prompt = window(model.map(|model| model.context));
    let answer = window(model.and_then(|model| model.max_output));
    let usage = report.usage.unwrap_or_default();
    for (field, tokens, most) in [
        ("usage.input_tokens", usage.input_tokens, prompt),
        ("usage.cache_read_tokens", usage.cache_read_tokens, prompt),
        ("usage.cache_write_tokens", usage.cache_write_tokens, prompt),
        ("usage.cache_write_long_tokens", usage.cache_write_long_tokens, prompt),
        ("usage.output_tokens", usage.output_tokens, answer),
        ("usage.reasoning_tokens", usage.reasoning_tokens, answer),
        ("usage.compaction", usage.compaction.total_tokens(), prompt),
    ] {
        if tokens > most {
            return Err(ApiError::invalid(format!("one call of this model has at most {most} of these")).at(field));
        }
    }
    let whole = Usage { input_tokens: prompt, output_tokens: answer, ..Usage::default() };
    let dearest = model.map_or(0.0, |model| model.price.of(&whole).0).max(MIN_USD_BOUND);
    for (field, value, most) in [
        ("latency_ms", report.latency_ms, MAX_CALL_MS),
        ("first_token_ms", report.first_token_ms, MAX_CALL_MS),
        ("cost_usd", report.cost_usd, dearest),
    ] {
        if value.is_some_and(|value| !(0.0..=most).contains(&value)) {
            return Err(ApiError::invalid(format!("must be a number from 0 to {most} for one call")).at(field));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Compaction, Price};
    use crate::store::OutcomeStatus;

    #[test]
    fn honest_figures_pass_and_absurd_ones_are_named() {
        let price = Price { input: 4.0, output: 20.0, ..Price::default() };
        let model = Model { price, context: 1_000_000, max_output: Some(128_000), ..Model::default() };
        let report = |usage: Usage, cost_usd: f64, latency_ms: f64| CallReport {
            usage: Some(usage),
            cost_usd: Some(cost_usd),
            latency_ms: Some(latency_ms),
            ..CallReport::new(OutcomeStatus::Ok)
        };
        let usage = Usage { input_tokens: 1_200_000, output_tokens: 128_000, ..Usage::default() };
        assert_eq!(check(&report(usage, 20.0, 900_000.0), Some(&model)), Ok(()));
        assert_eq!(check(&report(Usage::default(), 0.9, 1.0), None), Ok(()), "a model that is gone");
        let absurd = Usage { cache_read_tokens: u64::MAX, ..usage };
        let endless = Compaction { output_tokens: u64::MAX, ..Compaction::default() };
        for (report, field) in [
            (report(absurd, 0.1, 1.0), "usage.cache_read_tokens"),
            (report(Usage { compaction: endless, ..usage }, 0.1, 1.0), "usage.compaction"),
            (report(usage, 1e308, 1.0), "cost_usd"),
            (report(usage, 50.0, 1.0), "cost_usd"),
            (report(usage, f64::NAN, 1.0), "cost_usd"),
            (report(usage, -0.1, 1.0), "cost_usd"),
            (report(usage, 0.1, 1e12), "latency_ms"),
        ] {
            let error = check(&report, Some(&model)).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field), "{error:?}");
        }
    }
}
