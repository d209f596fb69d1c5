//! The scale of a file's scores, from all numbers of a column, because 1 is the best mark on one scale and nearly the
//! worst on another.

use std::collections::BTreeMap;

use super::row::Scored;

/// The best mark of a percent scale.
const PERCENT: f64 = 100.0;
/// Columns whose largest value is above 1 and at most this are marks or stars, and not percent.
const MARKS: f64 = 10.0;

/// The columns of a file.
#[derive(Debug, Default)]
pub(super) struct Scales {
    /// Smallest and largest value of each column, with their positions.
    columns: BTreeMap<&'static str, [(f64, usize); 2]>,
}

/// A value that fits no scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Unfit {
    /// Its column.
    pub column: &'static str,
    /// The value.
    pub value: f64,
    /// Its position.
    pub place: usize,
}

impl Scales {
    /// Takes in a score at position `place`.
    pub(super) fn note(&mut self, score: Scored, place: usize) {
        let Scored::In(column, value) = score else { return };
        let [least, most] = self.columns.entry(column).or_insert([(value, place); 2]);
        if value < least.0 {
            *least = (value, place);
        }
        if value > most.0 {
            *most = (value, place);
        }
    }

    /// The columns that are in percent.
    ///
    /// # Errors
    ///
    /// The first value that is neither from 0 to 1 nor in a column from 0 to 100.
    pub(super) fn percent(&self) -> Result<Vec<&'static str>, Unfit> {
        for (column, [least, most]) in &self.columns {
            let unfit = |(value, place): (f64, usize)| Unfit { column, value, place };
            if least.0 < 0.0 {
                return Err(unfit(*least));
            }
            if most.0 > PERCENT || (most.0 > 1.0 && most.0 <= MARKS) {
                return Err(unfit(*most));
            }
        }
        Ok(self.columns.iter().filter(|(_, [_, most])| most.0 > 1.0).map(|(column, _)| *column).collect())
    }

    /// A score in 0..1, once all of its column has been taken in.
    pub(super) fn brought(&self, score: Scored) -> f64 {
        match score {
            Scored::Known(score) => score,
            Scored::In(column, value) => {
                let is_percent = self.columns.get(column).is_some_and(|[_, most]| most.0 > 1.0);
                if is_percent { value / PERCENT } else { value }
            }
        }
    }
}
