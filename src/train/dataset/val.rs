//! A part of train becomes val where the data has none.

use super::groups::Groups;
use super::read::hash;
use super::{Dataset, Split};

/// One of this many questions of train becomes val.
const CUT: u64 = 10;

impl Dataset {
    /// Where there is no val, moves questions of train there: about every tenth by its hash, the same ones on every
    /// run, and at least one. Records that share a group or a wording stay together. Returns the number of prompts
    /// moved; 0 where there was a val, or train is a single question.
    pub fn cut_val(&mut self) -> usize {
        if self.has(Split::Val) {
            return 0;
        }
        let wording = |prompt: &str| (0, hash(prompt.trim()));
        let mut groups = Groups::default();
        for record in self.of(Split::Train) {
            groups.tie(wording(&record.prompt), Some((1, record.group)));
        }
        let question: Vec<u64> =
            self.of(Split::Train).map(|record| mixed(groups.first(wording(&record.prompt)))).collect();
        // Among few questions there may be none whose hash is a multiple of ten.
        let least = question.iter().copied().min();
        let most = question.iter().copied().max();
        if least == most {
            return 0;
        }
        let is_cut =
            |question: u64| Some(question) == least || (question.is_multiple_of(CUT) && Some(question) != most);
        let train = self.records.iter_mut().filter(|record| record.split == Split::Train);
        let mut moved = 0;
        for (record, question) in train.zip(question) {
            if is_cut(question) {
                record.split = Split::Val;
                moved += 1;
            }
        }
        self.val_was_train = moved > 0;
        moved
    }
}

/// Mixes a hash so that every bit depends on all others (the first half of MurmurHash3's finaliser): FNV hashes of
/// short names differ in few bits, and not in the low ones, which decide here.
fn mixed(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use super::super::{Limits, read};
    use super::*;

    fn data(lines: impl Iterator<Item = (String, String)>) -> Dataset {
        let dir = tempfile::tempdir().unwrap();
        let line = |(group, prompt): (String, String)| {
            format!("{{\"group\":\"{group}\",\"prompt\":\"{prompt}\",\"outcomes\":{{\"m\":{{\"score\":1}}}}}}\n")
        };
        fs::write(dir.path().join("x.jsonl"), lines.map(line).collect::<String>()).unwrap();
        read(dir.path(), Split::Train, Limits::default()).unwrap()
    }

    #[test]
    fn about_a_tenth_is_cut_and_what_belongs_together_stays_so() {
        let mut dataset = data((0..1000).map(|at| (format!("g{}", at / 2), format!("p{}", at / 4))));
        let moved = dataset.cut_val();
        assert_eq!(dataset.of(Split::Val).count(), moved);
        assert!((50..=150).contains(&moved), "{moved}");
        let prompts = |split| dataset.of(split).map(|record| record.prompt.clone()).collect::<HashSet<_>>();
        assert!(prompts(Split::Train).is_disjoint(&prompts(Split::Val)));
        assert_eq!(dataset.clone().cut_val(), 0, "there is one now");
    }

    #[test]
    fn of_few_questions_one_is_cut_and_one_is_left() {
        let mut two = data((0..2).map(|at| (format!("g{at}"), format!("p{at}"))));
        assert_eq!((two.cut_val(), two.of(Split::Train).count()), (1, 1));
        assert_eq!(data((0..3).map(|at| (format!("g{at}"), "same".into()))).cut_val(), 0);
    }
}
