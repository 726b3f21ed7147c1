//! Levels on their way from a frame to a ladder: Python numbers only where somebody looks.

use crate::number::{level_of, number_of};
use hean_core::{Level, Scale, Terms};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PySequence, PySlice, PyTuple};

/// `(px, qty)` levels as read from a message; a sequence that does not change.
#[pyclass(module = "hean_router.native._core", frozen, sequence)]
pub struct Levels {
    pub rows: Vec<Level>,
}

#[pymethods]
impl Levels {
    #[new]
    fn new(levels: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            rows: levels_of(levels)?,
        })
    }

    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if index.cast::<PySlice>().is_ok() {
            return self.listed(py)?.as_any().get_item(index);
        }
        let at = index.extract::<isize>()?;
        let from_end = if at < 0 { self.rows.len() } else { 0 };
        let row = from_end
            .checked_add_signed(at)
            .and_then(|at| self.rows.get(at));
        let row = row.ok_or_else(|| PyIndexError::new_err("no such level"))?;
        Ok(level_of(py, *row)?.into_any())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.listed(py)?.try_iter()
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let listed = self.listed(py)?;
        listed.reverse()?;
        listed.try_iter()
    }

    fn __contains__(&self, py: Python<'_>, level: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.listed(py)?.contains(level)
    }

    #[pyo3(signature = (*args))]
    fn index<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.listed(py)?.call_method1("index", args)
    }

    fn count<'py>(&self, level: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.listed(level.py())?.call_method1("count", (level,))
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        if let Ok(other) = other.cast::<Self>() {
            return Ok(self.rows == other.get().rows);
        }
        if other.cast::<PySequence>().is_err() {
            return Ok(false);
        }
        self.listed(py)?
            .eq(other.try_iter()?.collect::<PyResult<Vec<_>>>()?)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Levels({})", self.listed(py)?.repr()?))
    }
}

impl Levels {
    fn listed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows: PyResult<Vec<_>> = self.rows.iter().map(|&row| level_of(py, row)).collect();
        PyList::new(py, rows?)
    }
}

/// Read one side of a book as it is on the wire; None if it is not of the plainest spelling.
#[pyfunction]
pub fn read(
    raw: &Bound<'_, PyAny>,
    px_decimals: u32,
    qty_decimals: u32,
    qty_factor: &Bound<'_, PyAny>,
    longer: bool,
    plain: bool,
) -> PyResult<Option<Levels>> {
    let Ok(qty_factor) = number_of(qty_factor) else {
        return Ok(None);
    };
    let scale = Scale {
        px_decimals,
        qty_decimals,
        qty_factor,
    };
    let bytes = PyBuffer::<u8>::get(raw)?.to_vec(raw.py())?;
    let mut rows = Vec::with_capacity(bytes.len() / 20);
    let read = hean_core::read(&bytes, &scale, Terms { longer, plain }, &mut rows);
    Ok(read.then_some(Levels { rows }))
}

/// Levels from any iterable of `(px, qty)`.
pub fn levels_of(levels: &Bound<'_, PyAny>) -> PyResult<Vec<Level>> {
    if let Ok(list) = levels.cast::<PyList>() {
        return list.iter().map(|level| row_of(&level)).collect();
    }
    levels.try_iter()?.map(|level| row_of(&level?)).collect()
}

fn row_of(level: &Bound<'_, PyAny>) -> PyResult<Level> {
    let pair = level.cast::<PyTuple>()?;
    if pair.len() != 2 {
        return Err(PyValueError::new_err("a level is a price and a quantity"));
    }
    Ok((
        number_of(&pair.get_item(0)?)?,
        number_of(&pair.get_item(1)?)?,
    ))
}
