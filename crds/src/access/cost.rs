//! How much work an expression can be, known before it runs.
//!
//! Each loop (`exists`, `all`, `filter`) runs over at most the longest list there is, so what is nested `d` loops deep runs
//! at most that number to the power of `d` times. The estimate is an upper bound in units of one step of the interpreter,
//! some hundred nanoseconds.

use super::values::ClaimSize;

/// Most units of one check.
pub(super) const BUDGET: u64 = 200_000;

/// The parts of an expression by how many loops they are in.
#[derive(Debug, Default)]
pub(super) struct Cost {
    levels: Vec<Level>,
    longest_literal: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Level {
    /// Steps.
    nodes: u64,
    /// Steps that may walk or copy a whole value, such as `==` between two claims.
    deep: u64,
    /// Steps that may read a whole text.
    text: u64,
}

impl Cost {
    pub(super) fn node(&mut self, loops: usize) {
        self.level(loops).nodes += 1;
    }

    pub(super) fn deep(&mut self, loops: usize) {
        self.level(loops).deep += 1;
    }

    pub(super) fn text(&mut self, loops: usize) {
        self.level(loops).text += 1;
    }

    pub(super) fn literal_list(&mut self, length: usize) {
        self.longest_literal = self.longest_literal.max(length);
    }

    fn level(&mut self, loops: usize) -> &mut Level {
        if self.levels.len() <= loops {
            self.levels.resize(loops + 1, Level::default());
        }
        &mut self.levels[loops]
    }

    /// Upper bound for claims of that size and a room with that many segments.
    pub(super) fn estimate(&self, claims: ClaimSize, segments: usize) -> u64 {
        let rounds = as_u64(claims.longest.max(segments).max(self.longest_literal));
        let deep = as_u64(claims.values) / 16;
        let text = as_u64(claims.bytes) / 64;
        let mut times: u64 = 1;
        let mut total: u64 = 0;
        for level in &self.levels {
            let once = level.nodes + level.deep * deep + level.text * text;
            total = total.saturating_add(once.saturating_mul(times));
            times = times.saturating_mul(rounds);
        }
        total
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
