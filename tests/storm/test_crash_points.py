"""The router dies before and after each commit and each send; nothing is lost, doubled or orphaned.

Every point under `storm`; a sample of them in each CI run.
"""

from random import Random

import pytest

from tests.storm import crash

# How many points each scene has at least: a scene that no longer plays what it says has fewer.
LEAST = {"split": 30, "fading": 20, "doubtful": 100}


@pytest.fixture(scope="module")
def points():
    """Of each scene, in the order in which they come."""
    return {name: crash.run(name, 0).points for name in crash.SCENES}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_scene_commits_and_sends_what_it_says(points):
    for name, found in points.items():
        assert len(found) >= LEAST[name], name
        assert any("commit" in one and "ChildIntended" in one for one in found), name
        # Each point is there twice, before and after, and nothing comes in between.
        assert [one.removeprefix("before ") for one in found[::2]] == [
            one.removeprefix("after ") for one in found[1::2]
        ]
    assert any("CancelIntended" in one for one in points["fading"])
    assert any("ChildUnknown" in one for one in points["doubtful"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sample_of_deaths_leaves_nothing_lost_or_doubled(points):
    rng = Random("crash points")
    every = [(name, at) for name, found in points.items() for at in range(1, len(found) + 1)]
    heads = [(name, at) for name in points for at in (2, 4)]  # intended, and sent
    for number, (name, at) in enumerate([*heads, *rng.sample(every, 19)]):
        found = crash.run(name, at, heard=number % 4 != 0)
        assert found.died == points[name][at - 1], "the same scene has the same points"
        assert not found.told, (name, at)


@pytest.mark.storm
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("name", crash.SCENES)
def test_no_death_at_any_point_loses_or_doubles_anything(points, name, heard):
    orders = []
    for at in range(1, len(points[name]) + 1):
        found = crash.run(name, at, heard=heard)
        assert found.died == points[name][at - 1]
        assert not found.told, at
        orders.append(found.orders)
    # Some died before anything had left, some after all of it.
    assert min(orders) == 0
    assert max(orders) >= 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_disk_that_only_says_that_it_has_written_is_found_out(points):
    """So that a router which sends before it has written would be, too."""
    sent = next(
        n for n, one in enumerate(points["split"], 1) if one.startswith("after ") and "bytes" in one
    )
    with pytest.raises(AssertionError, match=r"I9|I16|forgotten"):
        crash.run("split", sent, writes_late=True)
