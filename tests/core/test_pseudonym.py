"""patterns.core.pseudonym: one name for one user, and no name without a key."""

import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.pseudonym import InvalidUser, WeakKey, pseudonym, strong_key

KEY = bytes(range(32))


@given(st.text())
def test_a_name_is_stable_and_is_an_hmac_of_the_id(user: str) -> None:
    """The standard library's one-shot function is the judge."""
    expected = hmac.digest(KEY, user.encode("utf-8", "surrogatepass"), "sha256").hex()
    assert pseudonym(user, KEY) == f"user_{expected[:32]}"


def test_another_key_and_another_tenant_give_another_name() -> None:
    """Equal ids of two tenants are two people."""
    names = {
        pseudonym("17", KEY),
        pseudonym("17", KEY[::-1]),
        pseudonym("17", KEY, tenant="a"),
        pseudonym("17", KEY, tenant="b"),
    }
    assert len(names) == 4


def test_a_key_may_be_text() -> None:
    """As secret stores hand it out."""
    assert pseudonym("ada", "k" * 32) == pseudonym("ada", b"k" * 32)


@pytest.mark.parametrize("key", ["", "short", b"k" * 31])
def test_a_weak_key_is_refused_with_what_to_use(key: str | bytes) -> None:
    """Also the empty one."""
    with pytest.raises(WeakKey, match=rf"has {len(key)} bytes; use 32 or more") as caught:
        strong_key(key)
    assert caught.value.size == len(key)


@pytest.mark.parametrize("key", [64, None, [1] * 64, bytearray(64)])
def test_key_of_another_type_is_no_key(key: Any) -> None:
    """`bytes(64)` would be 64 zeros."""
    with pytest.raises(WeakKey):
        pseudonym("ada", key)


@pytest.mark.parametrize("user", [17, None, b"ada"])
def test_user_that_is_no_text_is_refused(user: Any) -> None:
    """None and "None" are not one person."""
    with pytest.raises(InvalidUser, match="pass text") as caught:
        pseudonym(user, b"k" * 32)
    assert caught.value.user_id == user


def test_key_may_hold_half_a_character() -> None:
    """As an id may."""
    assert pseudonym("ada", "\ud800" * 32) != pseudonym("ada", "\ud801" * 32)
