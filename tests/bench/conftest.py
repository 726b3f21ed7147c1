"""What every benchmark prints first: where it ran."""

import pytest

from tests.bench import meter


@pytest.fixture(scope="session", autouse=True)
def _machine(request: pytest.FixtureRequest) -> None:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n\n{meter.machine()}\n")
