//! Sets of Redis Cluster's 16,384 hash slots: what a node owns, what nobody owns yet. Pure values, nothing about nodes.

use std::fmt;

/// How many hash slots a Redis Cluster has (Redis cluster specification, "Key distribution model").
pub const SLOT_COUNT: u16 = 16_384;

const WORDS: usize = SLOT_COUNT as usize / 64;

/// A set of hash slots.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet(Box<[u64; WORDS]>);

impl Default for SlotSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl SlotSet {
    /// All slots.
    pub fn all() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    /// The slots from `first` to `last`, both included; what lies past the end doesn't exist.
    pub fn range(first: u16, last: u16) -> Self {
        let mut set = Self::default();
        set.insert(first, last);
        set
    }

    /// Adds the slots from `first` to `last`, both included.
    pub fn insert(&mut self, first: u16, last: u16) {
        for slot in first..=last.min(SLOT_COUNT - 1) {
            self.0[usize::from(slot) / 64] |= 1 << (slot % 64);
        }
    }

    /// Whether `slot` is in the set.
    pub fn contains(&self, slot: u16) -> bool {
        slot < SLOT_COUNT && self.0[usize::from(slot) / 64] & (1 << (slot % 64)) != 0
    }

    /// Adds every slot of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0.iter()) {
            *mine |= theirs;
        }
    }

    /// The slots of this set that aren't in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        for (mine, theirs) in rest.0.iter_mut().zip(other.0.iter()) {
            *mine &= !theirs;
        }
        rest
    }

    /// Whether the two sets share a slot.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(other.0.iter())
            .any(|(mine, theirs)| mine & theirs != 0)
    }

    /// How many slots there are in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set has no slot.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether the set has every slot.
    pub fn is_all(&self) -> bool {
        self.0.iter().all(|word| *word == u64::MAX)
    }

    /// The `count` lowest slots of the set, or all where there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let mut taken = Self::default();
        for slot in self.iter().take(count) {
            taken.insert(slot, slot);
        }
        taken
    }

    /// The set as ascending ranges, both ends included: the arguments of `CLUSTER ADDSLOTSRANGE`.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }

    fn iter(&self) -> impl Iterator<Item = u16> {
        (0..SLOT_COUNT).filter(|slot| self.contains(*slot))
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slots")?;
        for (first, last) in self.ranges() {
            write!(f, " {first}-{last}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_neighbours_and_keep_gaps() {
        let mut set = SlotSet::range(0, 5);
        set.insert(6, 7);
        set.insert(100, 100);
        assert_eq!(set.ranges(), [(0, 7), (100, 100)]);
        assert_eq!(set.len(), 9);
    }

    #[test]
    fn the_rest_of_all_slots_is_what_nobody_owns() {
        let rest = SlotSet::all().without(&SlotSet::range(0, 16_000));
        assert_eq!(rest.ranges(), [(16_001, 16_383)]);
        assert!(!rest.overlaps(&SlotSet::range(5, 9)));
        assert!(SlotSet::all().is_all() && SlotSet::default().is_empty());
    }

    #[test]
    fn first_takes_the_lowest_slots_of_a_set_with_gaps() {
        let mut set = SlotSet::range(10, 11);
        set.insert(20, 30);
        assert_eq!(set.first(3).ranges(), [(10, 11), (20, 20)]);
        assert_eq!(set.first(99), set);
    }
}
