//! One side of a book.

/// Price and quantity, as counts of the instrument's smallest decimals.
pub type Level = (i128, i128);

/// Which side of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Best is highest.
    Bids,
    /// Best is lowest.
    Asks,
}

/// Price levels of one side, best last.
///
/// Keys are prices, on the ask side their negatives, so that both sides read the same; they rise
/// towards the end, where markets move.  No key and no quantity is `i128::MIN`, so that a sign can
/// always be turned: [`Ladder::fits`] says what may be given.
#[derive(Clone, Debug)]
pub struct Ladder {
    rows: Vec<Level>,
    side: Side,
    version: u64,
}

impl Ladder {
    /// An empty side.
    pub fn new(side: Side) -> Self {
        Self {
            rows: Vec::new(),
            side,
            version: 0,
        }
    }

    /// Whether a number can be held.
    pub fn fits(number: i128) -> bool {
        number != i128::MIN
    }

    /// The key of a price, and the price of a key.
    fn turned(&self, px: i128) -> i128 {
        match self.side {
            Side::Bids => px,
            Side::Asks => -px,
        }
    }

    fn level(&self, row: Level) -> Level {
        (self.turned(row.0), row.1)
    }

    /// Where a key is, or where it belongs.  It gallops from the best: most changes are near.
    fn find(&self, key: i128) -> Result<usize, usize> {
        let rows = &self.rows;
        let (mut hi, mut step) = (rows.len(), 4); // all from `hi` on are above `key`
        let lo = loop {
            let Some(probe) = hi.checked_sub(step) else {
                break 0;
            };
            if rows[probe].0 <= key {
                break probe;
            }
            (hi, step) = (probe, step * 2);
        };
        match rows[lo..hi].binary_search_by_key(&key, |row| row.0) {
            Ok(at) => Ok(lo + at),
            Err(at) => Err(lo + at),
        }
    }

    /// Rises with every message that may have changed something.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many levels there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forget everything and hold `levels` (any order; a price twice: the later counts).
    pub fn replace(&mut self, levels: &[Level]) {
        self.version += 1;
        let mut rows: Vec<Level> = levels.iter().map(|&level| self.level(level)).collect();
        rows.sort_by_key(|row| row.0); // stable: the later of two stays behind
        rows.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        rows.retain(|row| row.1 != 0);
        self.rows = rows;
    }

    /// Set each level in order; quantity 0 removes it, whether or not it was there.
    pub fn apply(&mut self, levels: &[Level]) {
        if levels.is_empty() {
            return;
        }
        self.version += 1;
        for &(px, qty) in levels {
            let key = self.turned(px);
            match (self.find(key), qty) {
                (Ok(at), 0) => drop(self.rows.remove(at)),
                (Ok(at), _) => self.rows[at].1 = qty,
                (Err(_), 0) => {}
                (Err(at), _) => self.rows.insert(at, (key, qty)),
            }
        }
    }

    /// A message without levels of which the caller could not know that it was empty.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// Keep the best `depth` levels only.
    pub fn cut(&mut self, depth: usize) {
        let excess = self.rows.len().saturating_sub(depth);
        if excess > 0 {
            self.version += 1;
            self.rows.drain(..excess);
        }
    }

    /// The level at `index`, 0 being the best.
    pub fn nth(&self, index: usize) -> Option<Level> {
        let at = self.rows.len().checked_sub(index + 1)?;
        Some(self.level(self.rows[at]))
    }

    /// Levels best first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Level> + '_ {
        self.rows.iter().rev().map(|&row| self.level(row))
    }

    /// Keys and quantities, best first.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Level> + '_ {
        self.rows.iter().rev().copied()
    }

    /// Quantity at `px`, 0 where there is no level.
    pub fn qty_at(&self, px: i128) -> i128 {
        self.find(self.turned(px)).map_or(0, |at| self.rows[at].1)
    }

    /// How many levels are at `px` or better.
    pub fn better_than(&self, px: i128) -> usize {
        let (Ok(at) | Err(at)) = self.find(self.turned(px));
        self.rows.len() - at
    }

    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<&'static str> {
        if !self.rows.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Some("keys and quantities disagree");
        }
        if !self.rows.iter().all(|row| row.1 > 0) {
            return Some("a level without quantity");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Numerical Recipes' generator: small, and the same everywhere.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (self.0 >> 33) % bound
        }
    }

    fn best_first(model: &BTreeMap<i128, i128>, side: Side) -> Vec<Level> {
        let rising = model.iter().map(|(&px, &qty)| (px, qty));
        match side {
            Side::Bids => rising.rev().collect(),
            Side::Asks => rising.collect(),
        }
    }

    #[test]
    fn it_agrees_with_a_map() {
        for side in [Side::Bids, Side::Asks] {
            let (mut dice, mut model) = (Dice(7), BTreeMap::new());
            let mut ladder = Ladder::new(side);
            for round in 0..5_000 {
                let levels: Vec<Level> = (0..dice.below(6))
                    .map(|_| (dice.below(300) as i128, dice.below(4) as i128))
                    .collect();
                if round % 500 == 0 {
                    model.clear();
                    ladder.replace(&levels);
                } else {
                    ladder.apply(&levels);
                }
                for &(px, qty) in &levels {
                    model.insert(px, qty);
                }
                model.retain(|_, qty| *qty != 0);
                let expected = best_first(&model, side);
                assert_eq!(ladder.iter().collect::<Vec<_>>(), expected);
                assert_eq!(ladder.nth(0), expected.first().copied());
                assert_eq!(ladder.nth(expected.len()), None);
                assert_eq!(ladder.fault(), None);
                let px = dice.below(300) as i128;
                assert_eq!(ladder.qty_at(px), model.get(&px).copied().unwrap_or(0));
                let better = expected.iter().filter(|level| match side {
                    Side::Bids => level.0 >= px,
                    Side::Asks => level.0 <= px,
                });
                assert_eq!(ladder.better_than(px), better.count());
            }
        }
    }

    #[test]
    fn a_price_twice_counts_in_order() {
        let mut ladder = Ladder::new(Side::Bids);
        ladder.apply(&[(5, 1), (5, 0), (5, 3)]);
        assert_eq!(ladder.iter().collect::<Vec<_>>(), [(5, 3)]);
        ladder.replace(&[(5, 1), (6, 2), (5, 0)]);
        assert_eq!(ladder.iter().collect::<Vec<_>>(), [(6, 2)]);
    }

    #[test]
    fn the_version_tells_change() {
        let mut ladder = Ladder::new(Side::Asks);
        ladder.apply(&[]);
        assert_eq!(ladder.version(), 0, "nothing was said of this side");
        ladder.apply(&[(5, 0)]);
        assert_eq!(ladder.version(), 1);
        ladder.replace(&[(1, 1), (2, 2), (3, 3)]);
        ladder.cut(3);
        assert_eq!(ladder.version(), 2, "nothing was cut");
        ladder.cut(2);
        assert_eq!(ladder.version(), 3);
        assert_eq!(ladder.iter().collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    }

    #[test]
    fn the_largest_numbers_keep_their_order() {
        let most = i128::MAX;
        for side in [Side::Bids, Side::Asks] {
            let mut ladder = Ladder::new(side);
            ladder.apply(&[(most, most), (-most, 1), (0, most)]);
            let held: Vec<_> = ladder.iter().collect();
            match side {
                Side::Bids => assert_eq!(held, [(most, most), (0, most), (-most, 1)]),
                Side::Asks => assert_eq!(held, [(-most, 1), (0, most), (most, most)]),
            }
        }
        assert!(!Ladder::fits(i128::MIN));
    }
}
