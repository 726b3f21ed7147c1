//! The twin of `hean_router.book.ladder.Ladder`.

use crate::levels::{levels_of, Levels};
use crate::number::{int_of, level_of, number_of};
use hean_core::{Side, Spelling};
use pyo3::exceptions::{PyAssertionError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyTuple};

type Columns<'py> = (Bound<'py, PyList>, Bound<'py, PyList>);

/// Price levels of one side; see `hean_router.book.ladder.Ladder`, the specification.
#[pyclass(module = "hean_router.native._core")]
pub struct Ladder {
    inner: hean_core::Ladder,
}

#[pymethods]
impl Ladder {
    #[new]
    #[pyo3(signature = (*, bids))]
    fn new(bids: bool) -> Self {
        let side = if bids { Side::Bids } else { Side::Asks };
        Self {
            inner: hean_core::Ladder::new(side),
        }
    }

    #[getter]
    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn __len__(&self) -> usize {
        self.inner.len()
    }

    // The levels are read before the ladder is borrowed: their source may be this very ladder.

    fn replace(slf: &Bound<'_, Self>, levels: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(read) = levels.cast::<Levels>() {
            slf.try_borrow_mut()?.inner.replace(&read.get().rows);
            return Ok(());
        }
        let rows = levels_of(levels)?;
        slf.try_borrow_mut()?.inner.replace(&rows);
        Ok(())
    }

    fn apply(slf: &Bound<'_, Self>, levels: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(read) = levels.cast::<Levels>() {
            slf.try_borrow_mut()?.inner.apply(&read.get().rows);
            return Ok(());
        }
        let rows = levels_of(levels)?;
        let told = !rows.is_empty() || levels.is_truthy()?;
        let ladder = &mut slf.try_borrow_mut()?.inner;
        if rows.is_empty() && told {
            ladder.touch(); // a generator that gave nothing: the specification counts it
        }
        ladder.apply(&rows);
        Ok(())
    }

    fn cut(&mut self, depth: usize) {
        self.inner.cut(depth);
    }

    fn best<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.inner
            .nth(0)
            .map(|level| level_of(py, level))
            .transpose()
    }

    fn best_px<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyInt>> {
        self.inner.nth(0).map(|(px, _)| int_of(py, px))
    }

    fn qty_at<'py>(&self, px: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyInt>> {
        Ok(int_of(px.py(), self.inner.qty_at(number_of(px)?)))
    }

    fn better_than(&self, px: &Bound<'_, PyAny>) -> PyResult<usize> {
        Ok(self.inner.better_than(number_of(px)?))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Walk {
        Walk {
            ladder: slf.unbind(),
            next: 0,
        }
    }

    fn top<'py>(&self, py: Python<'py>, depth: usize) -> PyResult<Bound<'py, PyList>> {
        let best = self.inner.iter().take(depth);
        let rows: PyResult<Vec<_>> = best.map(|row| level_of(py, row)).collect();
        PyList::new(py, rows?)
    }

    fn columns<'py>(&self, py: Python<'py>, depth: usize) -> PyResult<Columns<'py>> {
        let rows = || self.inner.rows().take(depth);
        Ok((
            PyList::new(py, rows().map(|row| int_of(py, row.0)))?,
            PyList::new(py, rows().map(|row| int_of(py, row.1)))?,
        ))
    }

    fn check(&self) -> PyResult<()> {
        self.inner
            .fault()
            .map_or(Ok(()), |fault| Err(PyAssertionError::new_err(fault)))
    }
}

/// Digits of the best `depth` levels, price and quantity by turns, in one text.
#[pyfunction]
pub fn digits<'py>(ladder: &Bound<'py, Ladder>, depth: usize) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(
        ladder.py(),
        &hean_core::digits(&ladder.try_borrow()?.inner, depth),
    ))
}

/// `px:qty` of the best `depth` bids and asks by turns, without needless zeros, in one text.
#[pyfunction]
pub fn spelled<'py>(
    bids: &Bound<'py, Ladder>,
    asks: &Bound<'py, Ladder>,
    depth: usize,
    px_decimals: usize,
    qty_decimals: usize,
    qty_factor: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let qty_factor = number_of(qty_factor)?;
    if qty_factor < 1 {
        return Err(PyValueError::new_err("a factor is positive"));
    }
    let spelling = Spelling {
        px_decimals,
        qty_decimals,
        qty_factor,
    };
    let (bids, asks) = (bids.try_borrow()?, asks.try_borrow()?);
    let text = hean_core::spelled(&bids.inner, &asks.inner, depth, &spelling);
    Ok(PyBytes::new(bids.py(), &text))
}

/// A walk through a ladder, best first.
#[pyclass(module = "hean_router.native._core")]
pub struct Walk {
    ladder: Py<Ladder>,
    next: usize,
}

#[pymethods]
impl Walk {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let found = self.ladder.borrow(py).inner.nth(self.next);
        self.next += 1;
        found.map(|level| level_of(py, level)).transpose()
    }
}
