"""What every benchmark prints first: where it ran."""

from collections.abc import Iterator

import pytest

from tests.bench import meter


@pytest.fixture(scope="session", autouse=True)
def _machine(request: pytest.FixtureRequest) -> Iterator[None]:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n\n{meter.machine()}\n")
    yield
