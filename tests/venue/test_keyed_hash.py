"""A prepared key signs what the standard library signs."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.venue.keyed_hash import KeyedHash


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@given(key=st.binary(max_size=200), messages=st.lists(st.binary(max_size=300), max_size=4))
def test_agrees_with_the_standard_library(algorithm, key, messages):
    keyed = KeyedHash(key, algorithm)
    for message in messages:  # one key, many messages: none leaves a trace
        assert keyed.digest(message) == hmac.digest(key, message, algorithm)
        assert keyed.hex(message) == hmac.digest(key, message, algorithm).hex()


def test_prints_nothing():
    assert "canary" not in f"{KeyedHash(b'canary')!r} {KeyedHash(b'canary')}"
