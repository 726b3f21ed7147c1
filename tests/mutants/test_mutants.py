"""Each invariant has a bug that its own checker finds; without the bug the same day is clean."""

import pytest

from hean_router.audit import CHECKERS
from tests.mutants import seeded
from tests.mutants.seeded import MUTANTS

# One of each kind of checker and of each layer; the rest is lived in `make storm`.
SAMPLE = {"I1", "I2", "I8", "I9", "I11", "I12", "I16", "I20", "I21", "I23", "I25", "I36", "I40"}
ALL = {f"I{n}" for n in range(1, 41)}


def test_every_invariant_has_a_checker_with_its_sentence_and_a_bug():
    assert set(CHECKERS) == ALL
    assert {one.invariant for one in MUTANTS} == ALL
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)
    for checker in CHECKERS.values():
        assert len(checker.text) > 20
        assert checker.where
    assert set(CHECKERS["I2"].where) == {"rows"}
    assert "claims" in CHECKERS["I1"].where


def judged(one):
    found = seeded.found(one)
    assert one.invariant in found, f"{one.name}: its checker said nothing, others {found}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "one", [one for one in MUTANTS if one.invariant in SAMPLE], ids=lambda one: one.name
)
def test_a_bug_is_found_by_its_own_checker(one):
    judged(one)


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "one", [one for one in MUTANTS if one.invariant not in SAMPLE], ids=lambda one: one.name
)
def test_every_other_bug_is_found_by_its_own_checker(one):
    judged(one)


def days():
    """Each scene once with each way it is set up; what stands for a bug by itself left out."""
    seen = {}
    for one in MUTANTS:
        options = {k: v for k, v in one.options.items() if k != "journal" or one.invariant != "I14"}
        seen.setdefault((one.scene.__name__, repr(sorted(options))), (one.scene, options))
    return list(seen.values())


def clean(scene, options):
    witness = seeded.lived(scene, (), options)
    fault = getattr(witness, "fault", None)
    assert not witness.broken, witness.broken
    assert fault is None, repr(fault)


QUICK = [one for one in days() if one[0].__name__ in {"day", "killed"} and not one[1]]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("scene", "options"), QUICK)
def test_the_same_day_is_clean_without_the_bug(scene, options):
    clean(scene, options)


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("scene", "options"), [one for one in days() if one not in QUICK])
def test_every_other_day_is_clean_without_the_bug(scene, options):
    clean(scene, options)
