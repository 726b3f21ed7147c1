"""The build's one step of our own: `migrations/` travels inside the package.

A folder of that name in site-packages would be everybody's and nobody's, and setuptools cannot
find a package and give it another place at once.  So its files are copied to
`hean_router/store/migrations` while a wheel is made; an editable installation reads them where
they are.
"""

from pathlib import Path

from setuptools.command.build_py import build_py

_FOLDER = "migrations"
_INSIDE = Path("hean_router", "store", _FOLDER)


def _sources() -> list[Path]:
    return [
        path
        for path in sorted(Path(_FOLDER).rglob("*"))
        if path.suffix in {".py", ".mako"} and "__pycache__" not in path.parts
    ]


class BuildPy(build_py):  # type: ignore[misc]  # setuptools has no types
    """`build_py`, and the migrations."""

    editable_mode: bool

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._copies().items():
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        """A source archive must be able to build the same wheel."""
        return [*super().get_source_files(), *map(str, _sources())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What an uninstallation takes away."""
        ours = [] if self.editable_mode else list(self._copies().values())
        return [*super().get_outputs(include_bytecode), *ours]

    def _copies(self) -> dict[str, str]:
        place = Path(self.build_lib) / _INSIDE
        return {str(path): str(place / path.relative_to(_FOLDER)) for path in _sources()}
