//! What the rounds allow to say: one broker's number beside another's, as a ratio of medians with
//! the range that the rounds leave open. Where the ranges of the two overlap, nothing is said.
//!
//! Ranges that do not overlap may be chance: of two brokers that are alike, three rounds each fall
//! apart in 2 of C(6,3) = 20 orders, 10 %; five rounds each in 2 of C(10,5) = 252 orders, 0.8 %. So
//! with three or four rounds the gap between the ranges must also be wider than either range.

use serde::{Deserialize, Serialize};

use crate::report::number::three_digits;

/// Fewer rounds have no spread to speak of.
const ROUNDS_MIN: usize = 3;
/// With so many, ranges that do not overlap are enough by themselves.
const ROUNDS_ENOUGH: usize = 5;

/// One number of two brokers side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is compared.
    pub metric: String,
    /// The first broker's median as a part of the other's.
    pub ratio: f64,
    /// The least that the rounds allow.
    pub ratio_min: f64,
    /// The most that the rounds allow.
    pub ratio_max: f64,
    /// What can be said.
    pub said: Said,
}

/// What can be said of two sets of rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// Every round of the first was better than every round of the other, and of few rounds by a
    /// gap wider than either range.
    Better,
    /// The other way round.
    Worse,
    /// The rounds overlap, or lie too near each other for so few.
    Noise,
    /// There are too few of them.
    TooFewRounds,
}

impl Verdict {
    /// Compares two sets of rounds, in any order; none if one of them is empty or not positive.
    pub fn of(metric: &str, more_is_better: bool, ours: &[f64], theirs: &[f64]) -> Option<Verdict> {
        let (ours_all, theirs_all) = (Range::of(ours)?, Range::of(theirs)?);
        if theirs_all.least <= 0.0 || ours_all.least < 0.0 {
            return None;
        }
        let rounds = ours.len().min(theirs.len());
        let more = ours_all.median > theirs_all.median;
        let said = if rounds < ROUNDS_MIN {
            Said::TooFewRounds
        } else if !ours_all.is_apart_from(&theirs_all, rounds) {
            Said::Noise
        } else if more == more_is_better {
            Said::Better
        } else {
            Said::Worse
        };
        Some(Verdict {
            metric: metric.to_owned(),
            ratio: ours_all.median / theirs_all.median,
            ratio_min: ours_all.least / theirs_all.most,
            ratio_max: ours_all.most / theirs_all.least,
            said,
        })
    }

    /// As a part of a sentence: `p99 0.12 x (0.10 to 0.15), better`.
    pub fn text(&self) -> String {
        let Verdict {
            metric,
            ratio,
            ratio_min,
            ratio_max,
            ..
        } = self;
        let [ratio, least, most] = [ratio, ratio_min, ratio_max].map(|ratio| three_digits(*ratio));
        let said = match self.said {
            Said::Better => "better",
            Said::Worse => "worse",
            Said::Noise => "noise does not allow a verdict",
            Said::TooFewRounds => "fewer than 3 rounds allow no verdict",
        };
        format!("{metric} {ratio} x ({least} to {most}), {said}")
    }
}

/// The rounds of one broker.
struct Range {
    least: f64,
    median: f64,
    most: f64,
}

impl Range {
    fn of(values: &[f64]) -> Option<Range> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        Some(Range {
            least,
            median: (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0,
            most,
        })
    }

    /// Whether chance is no likely reason for the two to differ, after that many rounds each.
    fn is_apart_from(&self, other: &Range, rounds: usize) -> bool {
        let gap = (self.least - other.most).max(other.least - self.most);
        let widest = (self.most - self.least).max(other.most - other.least);
        gap > 0.0 && (rounds >= ROUNDS_ENOUGH || gap > widest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(more_is_better: bool, ours: &[f64], theirs: &[f64]) -> Option<Said> {
        Some(Verdict::of("x", more_is_better, ours, theirs)?.said)
    }

    #[test]
    fn only_rounds_that_do_not_overlap_allow_a_verdict() {
        let (low, high) = ([10.0, 12.0, 11.0], [21.0, 20.0, 24.0]);
        assert_eq!(said(true, &high, &low), Some(Said::Better));
        assert_eq!(said(false, &high, &low), Some(Said::Worse));
        assert_eq!(said(false, &low, &high), Some(Said::Better));
        // One slow round of theirs reaches into ours.
        assert_eq!(said(true, &high, &[10.0, 11.0, 20.0]), Some(Said::Noise));
        assert_eq!(
            said(true, &[20.0, 21.0], &[10.0, 11.0]),
            Some(Said::TooFewRounds)
        );
        assert_eq!(said(true, &[], &low), None);
        assert_eq!(said(true, &low, &[0.0, 1.0, 2.0]), None);
    }

    #[test]
    fn few_rounds_need_a_gap_wider_than_their_ranges() {
        // The gap is 8 and their range is 10: three rounds of one broker could have given both.
        let (low, high) = ([10.0, 11.0, 12.0], [20.0, 21.0, 30.0]);
        assert_eq!(said(true, &high, &low), Some(Said::Noise));
        assert_eq!(said(true, &low, &high), Some(Said::Noise));
        let four = ([10.0, 11.0, 11.0, 12.0], [20.0, 20.0, 21.0, 30.0]);
        assert_eq!(said(true, &four.1, &four.0), Some(Said::Noise));
        // As wide as the gap is not wider.
        assert_eq!(said(true, &[20.0, 21.0, 28.0], &low), Some(Said::Noise));
        assert_eq!(said(true, &[20.0, 21.0, 27.0], &low), Some(Said::Better));
        let five = (
            [10.0, 11.0, 11.0, 11.0, 12.0],
            [20.0, 20.0, 20.0, 21.0, 30.0],
        );
        assert_eq!(said(true, &five.1, &five.0), Some(Said::Better));
        // The side with fewer rounds decides.
        assert_eq!(said(true, &five.1, &low), Some(Said::Noise));
    }

    #[test]
    fn the_ratio_is_of_medians_and_its_range_that_of_the_rounds() {
        let theirs = [10.0, 20.0, 20.0, 20.0, 40.0];
        let verdict = Verdict::of("p99", false, &[1.0, 2.0, 2.0, 2.0, 3.0], &theirs);
        let verdict = verdict.expect("both have rounds");
        assert_eq!(
            (verdict.ratio, verdict.ratio_min, verdict.ratio_max),
            (0.1, 0.025, 0.3)
        );
        assert_eq!(verdict.text(), "p99 0.10 x (0.03 to 0.30), better");
    }
}
