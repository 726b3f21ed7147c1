"""API keys: what opens, what does not, and that nothing prints a token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.errors import CommandError
from hean_router.domain.record import KeyMade, KeyRevoked, StrategyNoted
from hean_router.engine.keyring import (
    RANDOM_BYTES,
    SCOPES,
    KeyRing,
    checked_scopes,
    digest_of,
    make_token,
)

RAND = bytes(range(RANDOM_BYTES))


def made(key_id, token, scopes=("read", "trade"), account="main"):
    return KeyMade(
        at_ns=1, key_id=key_id, digest=digest_of(token), account=account, scopes=scopes, name="n"
    )


def ring_of(*rows):
    ring = KeyRing()
    for row in rows:
        ring.apply(row)
    return ring


def test_a_token_opens_what_it_was_made_for():
    key_id, token = make_token(RAND)
    info = ring_of(made(key_id, token)).find(token)
    assert info is not None
    assert (info.key_id, info.account, info.scopes, info.name) == (
        key_id,
        "main",
        frozenset({"read", "trade"}),
        "n",
    )


KEY_ID, TOKEN = make_token(RAND)
OTHER = make_token(bytes(RANDOM_BYTES))[1]


@pytest.mark.parametrize(
    "bearer",
    [
        "",
        TOKEN[:-1],  # cut
        TOKEN + "A",  # longer
        TOKEN + "\n",  # a line end that `$` would let through
        " " + TOKEN,
        TOKEN[:-1] + ("A" if TOKEN[-1] != "A" else "B"),  # another secret under a good id
        OTHER,  # a well-formed token that nobody made
        TOKEN.upper(),
        "hean_" + KEY_ID + "_",
        digest_of(TOKEN),  # what a thief of the journal would have
        "hean_" + KEY_ID + "_" + "é" * 43,
        "\ud800",  # cannot even be encoded
    ],
)
def test_nothing_else_opens(bearer):
    ring = ring_of(made(KEY_ID, TOKEN))
    assert ring.find(bearer) is None
    assert ring.find(TOKEN) is not None


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        ([made(KEY_ID, TOKEN)], True),
        ([made(KEY_ID, TOKEN), KeyRevoked(at_ns=2, key_id=KEY_ID)], False),
        # made again under the id that was revoked: a replayed row must not bring it back
        (
            [made(KEY_ID, TOKEN), KeyRevoked(at_ns=2, key_id=KEY_ID), made(KEY_ID, TOKEN)],
            False,
        ),
        ([KeyRevoked(at_ns=1, key_id=KEY_ID), made(KEY_ID, TOKEN)], False),
        # a second key under a good id takes nothing over
        ([made(KEY_ID, TOKEN), made(KEY_ID, OTHER)], True),
        ([made(KEY_ID, TOKEN), KeyRevoked(at_ns=2, key_id="zzzz")], True),
        ([made(KEY_ID, TOKEN), StrategyNoted(at_ns=2, strategy="a", state="{}")], True),
    ],
)
def test_keys_follow_their_rows(rows, good):
    assert (ring_of(*rows).find(TOKEN) is not None) is good


def test_a_scope_that_does_not_exist_grants_nothing_and_is_refused_where_keys_are_made():
    info = ring_of(made(KEY_ID, TOKEN, scopes=("read", "root"))).find(TOKEN)
    assert info is not None
    assert info.scopes == {"read"}
    assert checked_scopes(tuple(SCOPES)) == SCOPES
    for scopes in ((), ("root",), ("read", "Read")):
        with pytest.raises(CommandError):
            checked_scopes(scopes)


@pytest.mark.parametrize("size", [0, 32, RANDOM_BYTES - 1, RANDOM_BYTES + 1])
def test_a_key_is_made_of_enough_randomness_or_not_at_all(size):
    with pytest.raises(CommandError):
        make_token(bytes(size))


def test_nothing_prints_a_token_and_the_journal_does_not_hold_it():
    ring = ring_of(made(KEY_ID, TOKEN))
    secret = TOKEN[-43:]
    for text in (repr(ring), repr(ring.keys()), repr(TOKEN), repr((KEY_ID, TOKEN))):
        assert secret not in text
        assert digest_of(TOKEN) not in text
    assert secret not in repr(made(KEY_ID, TOKEN))


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_every_token_has_the_form_and_opens_itself_alone(rand):
    key_id, token = make_token(rand)
    prefix, made_id, secret = token.split("_", 2)
    assert (prefix, made_id, len(secret)) == ("hean", key_id, 43)
    ring = ring_of(made(key_id, token), made("aaaaaaa1", OTHER))
    info = ring.find(str(token))
    assert info is not None
    assert info.key_id == key_id
