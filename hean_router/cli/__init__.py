"""Floor 8: the command line.  `hean COMMAND --help` shows an example of each.

Every command takes `--json` (one object, or one a line where it streams).  Exit codes: 0 ok,
1 failure, 2 usage, 3 configuration, 4 authentication, 5 risk refusal, 6 venue, 7 unknown outcome,
8 interrupted.
"""

from hean_router.cli.main import main

__all__ = ["main"]
