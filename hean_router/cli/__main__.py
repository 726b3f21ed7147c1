"""`python -m hean_router.cli`: the same as `hean`, for a child of the same interpreter."""

from hean_router.cli.main import main

main()
