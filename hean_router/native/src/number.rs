//! Integers across the border.

use hean_core::{Ladder, Level};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};

/// A Python int; never a float.  `ValueError` beyond 127 bits: no venue has such a number, and a
/// `ValueError` is what a frame that has one is refused with.
pub fn number_of(value: &Bound<'_, PyAny>) -> PyResult<i128> {
    if let Ok(small) = value.extract::<i64>() {
        return Ok(small.into());
    }
    match value.extract::<i128>() {
        Ok(number) if Ladder::fits(number) => Ok(number),
        Ok(_) => Err(too_large()),
        Err(fault) if fault.is_instance_of::<PyOverflowError>(value.py()) => Err(too_large()),
        Err(fault) => Err(fault),
    }
}

fn too_large() -> PyErr {
    PyValueError::new_err("a number of more than 127 bits")
}

/// The same number for Python.
pub fn int_of(py: Python<'_>, number: i128) -> Bound<'_, PyInt> {
    let Ok(made) = match i64::try_from(number) {
        Ok(small) => small.into_pyobject(py),
        Err(_) => number.into_pyobject(py),
    };
    made
}

/// `(px, qty)` for Python.
pub fn level_of(py: Python<'_>, (px, qty): Level) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, [int_of(py, px), int_of(py, qty)])
}
