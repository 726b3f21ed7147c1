"""Venues, one place each: a module or folder that exports `CONNECTOR`.  See `README.md`.

A connector imports `hean_router.kit` and nothing else of the house.  Nobody imports a connector by
name: they are found by walking this package, others by entry point.
"""
