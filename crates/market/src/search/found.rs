//! The best of what is found, and from where on nothing is missing.

use super::Candidate;

/// Candidates, in no order. Where more are found than fit, the worst are left out.
#[derive(Debug)]
pub(super) struct Found {
    candidates: Vec<Candidate>,
    most: usize,
    floor: Option<Candidate>,
}

impl Found {
    /// At most twice as many as `most` at any time, and none that comes after the floor.
    pub(super) fn new(most: usize, floor: Option<Candidate>) -> Self {
        Self { candidates: Vec::new(), most, floor }
    }

    /// The least gain that is still looked for, in units of an asset that is worth so much: one, or what the floor gains.
    pub(super) fn least(&self, worth: f64) -> f64 {
        self.floor.map_or(1.0, |floor| (floor.gain / worth).max(1.0))
    }

    pub(super) fn add(&mut self, candidate: Candidate) {
        if self.floor.is_some_and(|floor| candidate.order(&floor).is_gt()) {
            return;
        }
        self.candidates.push(candidate);
        if self.candidates.len() == 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let (_, last, _) = self.candidates.select_nth_unstable_by(self.most - 1, Candidate::order);
        self.floor = Some(*last);
        self.candidates.truncate(self.most);
    }

    /// The candidates, the best first, and the last that is surely not missing: `None` where nothing was left out.
    pub(super) fn finish(mut self) -> (Vec<Candidate>, Option<Candidate>) {
        if self.candidates.len() > self.most {
            self.cut();
        }
        self.candidates.sort_unstable_by(Candidate::order);
        (self.candidates, self.floor)
    }
}
