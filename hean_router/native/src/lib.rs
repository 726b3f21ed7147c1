//! `hean-core` as Python sees it: numbers across the border, nothing else.
//!
//! Everything is read from Python before anything is changed: what raises leaves a ladder as it
//! was.

mod ladder;
mod levels;
mod number;

use pyo3::prelude::*;

/// The compiled twin of the hot half of `hean_router.book`.
#[pymodule]
mod _core {
    use pyo3::prelude::*;
    use pyo3::types::PySequence;

    #[pymodule_export]
    use crate::ladder::{digits, spelled, Ladder};
    #[pymodule_export]
    use crate::levels::{read, Levels};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        PySequence::register::<Levels>(module.py())?; // `isinstance` knows it for what it is
                                                      // Raised with every change of what Python calls: an old binary is not taken for a new one.
        module.add("INTERFACE", 2)
    }
}
