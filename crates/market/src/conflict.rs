//! Which opportunities to take together: those that share no pool and are worth most in sum.
//!
//! Two trades through one pool spoil each other's price, so each pool is used once. That is the weighted set packing problem: small groups that
//! share nothing with each other are solved one by one by branch and bound, exactly as long as a limit of steps allows.

use std::collections::HashMap;

use alloy_primitives::U256;

use crate::PoolId;

/// Most steps spent on one group.
const STEPS_MAX: usize = 100_000;

/// One to choose or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// What it is worth, in any unit common to all; nothing is never chosen.
    pub worth: U256,
    /// The pools it needs.
    pub pools: Vec<PoolId>,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// The chosen, by their place among the contenders, in ascending order.
    pub chosen: Vec<usize>,
    /// What they are worth together.
    pub worth: U256,
    /// Whether nothing better exists; false where a group was too large to be sure.
    pub exact: bool,
}

/// The best set of contenders of which no two share a pool.
pub fn best_set(contenders: &[Contender]) -> Choice {
    let mut choice = Choice { exact: true, ..Choice::default() };
    for mut group in groups(contenders) {
        // The most valuable first: the first set tried is the greedy one.
        group.sort_by_key(|place| (std::cmp::Reverse(contenders[*place].worth), *place));
        let mut packing = Packing::new(contenders, &group);
        packing.branch(0, U256::ZERO);
        choice.exact &= packing.steps < STEPS_MAX;
        choice.worth = choice.worth.saturating_add(packing.best_worth);
        choice.chosen.extend(packing.best);
    }
    choice.chosen.sort_unstable();
    choice
}

/// Contenders that are joined by shared pools, directly or through others.
fn groups(contenders: &[Contender]) -> Vec<Vec<usize>> {
    let mut leader: Vec<usize> = (0..contenders.len()).collect();
    let mut first_with: HashMap<PoolId, usize> = HashMap::new();
    fn root(leader: &mut [usize], mut place: usize) -> usize {
        while leader[place] != place {
            leader[place] = leader[leader[place]];
            place = leader[place];
        }
        place
    }
    let worthy = |place: &usize| !contenders[*place].worth.is_zero();
    for place in (0..contenders.len()).filter(worthy) {
        for pool in &contenders[place].pools {
            let other = *first_with.entry(*pool).or_insert(place);
            let (a, b) = (root(&mut leader, place), root(&mut leader, other));
            leader[a.max(b)] = a.min(b);
        }
    }
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); contenders.len()];
    for place in (0..contenders.len()).filter(worthy) {
        groups[root(&mut leader, place)].push(place);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

struct Packing<'a> {
    contenders: &'a [Contender],
    group: &'a [usize],
    /// What all from here on are worth.
    rest: Vec<U256>,
    taken: Vec<usize>,
    best: Vec<usize>,
    best_worth: U256,
    steps: usize,
}

impl<'a> Packing<'a> {
    fn new(contenders: &'a [Contender], group: &'a [usize]) -> Self {
        let mut rest = vec![U256::ZERO; group.len() + 1];
        for (at, place) in group.iter().enumerate().rev() {
            rest[at] = rest[at + 1].saturating_add(contenders[*place].worth);
        }
        Self { contenders, group, rest, taken: Vec::new(), best: Vec::new(), best_worth: U256::ZERO, steps: 0 }
    }

    fn branch(&mut self, at: usize, worth: U256) {
        if worth > self.best_worth {
            (self.best_worth, self.best) = (worth, self.taken.clone());
        }
        if at == self.group.len() || worth.saturating_add(self.rest[at]) <= self.best_worth || self.steps >= STEPS_MAX {
            return;
        }
        self.steps += 1;
        let place = self.group[at];
        let next = &self.contenders[place];
        let clash = |other: &usize| self.contenders[*other].pools.iter().any(|pool| next.pools.contains(pool));
        if !self.taken.iter().any(clash) {
            self.taken.push(place);
            self.branch(at + 1, worth.saturating_add(next.worth));
            self.taken.pop();
        }
        self.branch(at + 1, worth);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contender(worth: u64, pools: &[u32]) -> Contender {
        Contender { worth: U256::from(worth), pools: pools.iter().copied().map(PoolId).collect() }
    }

    #[test]
    fn two_that_agree_beat_one_that_is_worth_more_than_either() {
        let contenders = [
            contender(10, &[1, 2]),
            contender(6, &[1, 3]),
            contender(6, &[2, 4]),
            contender(0, &[9]),
            contender(1, &[7]),
        ];
        let choice = best_set(&contenders);
        assert_eq!((choice.chosen, choice.worth, choice.exact), (vec![1, 2, 4], U256::from(13), true));
        assert_eq!(best_set(&[]), Choice { exact: true, ..Choice::default() });
    }

    #[test]
    fn a_group_too_large_to_be_sure_says_so_and_still_answers() {
        let crowd: Vec<Contender> = (0..200).map(|n| contender(1_000 + u64::from(n), &[n, n + 1, n + 2])).collect();
        let choice = best_set(&crowd);
        assert!(!choice.exact && choice.chosen.len() > 60);
    }

    proptest! {
        #[test]
        fn as_good_as_trying_every_set(
            specs in prop::collection::vec((0u64..50, prop::collection::vec(0u32..8, 1..4)), 0..10),
        ) {
            let contenders: Vec<Contender> = specs.iter().map(|(worth, pools)| contender(*worth, pools)).collect();
            let mut best = U256::ZERO;
            for mask in 0u32..1 << contenders.len() {
                let set: Vec<&Contender> = contenders.iter().enumerate().filter(|(n, _)| mask >> n & 1 == 1).map(|(_, c)| c).collect();
                let apart = set.iter().enumerate().all(|(n, a)| set[..n].iter().all(|b| !a.pools.iter().any(|pool| b.pools.contains(pool))));
                if apart {
                    best = best.max(set.iter().map(|contender| contender.worth).sum());
                }
            }
            let choice = best_set(&contenders);
            prop_assert_eq!(choice.worth, best);
            prop_assert_eq!(choice.chosen.iter().map(|n| contenders[*n].worth).sum::<U256>(), best);
        }
    }
}
