//! The hot half of `hean_router.book`, without Python and without dependencies.
//!
//! The Python in `hean_router/book/` is the specification; everything here is held equal to it by
//! the tests in `tests/native`.  Numbers are scaled integers of 128 bits.  What does not fit, and
//! every text that is not of the plainest spelling, is *not read*: the caller asks the
//! specification, which reads it or says what is wrong.

mod digits;
mod ladder;
mod wire;

pub use digits::{digits, spelled, Spelling};
pub use ladder::{Ladder, Level, Side};
pub use wire::{read, scaled, Scale, Terms};
