"""All set intersections against plaintext joins, on many small random sets."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedbank.protocols import ecdh_psi, oprf_psi, set_items, vole_psi
from fedbank.protocols.oprf_psi import Life, OprfKey

Converse = Callable[..., Any]
Outcome = tuple[Any, Any]
TODAY, LIFE = date(2026, 3, 1), Life(date(2026, 12, 31), 1000)
KEY = OprfKey.create(LIFE)


def by_ecdh(converse: Converse, left: list[str], right: list[str], learns: Any) -> Outcome:
    talk = converse(
        lambda peer: ecdh_psi.receiver(peer, left, "plain", learns=learns),
        lambda peer: ecdh_psi.sender(peer, right, "plain", learns=learns),
    )
    return talk.left, talk.right


def by_oprf(converse: Converse, left: list[str], right: list[str], learns: Any) -> Outcome:
    """The client on the left."""
    published = oprf_psi.publish(KEY, right, "plain")
    talk = converse(
        lambda peer: oprf_psi.client(peer, left, "plain", {}, life=LIFE, today=TODAY, learns=learns),
        lambda peer: oprf_psi.server(peer, published, {KEY.name: KEY}, today=TODAY, learns=learns),
    )
    return talk.left, talk.right


def by_vole(converse: Converse, left: list[str], right: list[str], learns: Any) -> Outcome:
    talk = converse(
        lambda peer: vole_psi.receiver(peer, left, "plain", learns=learns, vole="ot"),
        lambda peer: vole_psi.sender(peer, right, "plain", learns=learns, vole="ot"),
    )
    return talk.left, talk.right


# (protocol, who learns): each gives what the left and the right one learn
PROTOCOLS = [
    (by_ecdh, "both"),
    (by_ecdh, "receiver"),
    (by_ecdh, "size"),
    (by_oprf, "client"),
    (by_oprf, "both"),
    (by_vole, "both"),
    (by_vole, "receiver"),
]


def check(converse: Converse, protocol: Any, learns: str, left: list[str], right: list[str], common: set[str]) -> None:
    found, other = protocol(converse, left, right, learns)
    if learns == "size":
        assert found == len(common)
    else:
        assert sorted(left[row] for row in found) == sorted(common)
    if learns == "both":
        assert [left[row] for row in found] == [right[row] for row in other]
    else:
        assert other is None


RANGES = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (9, 9), (9, 10), (10, 9)]


@pytest.mark.parametrize(("protocol", "learns"), PROTOCOLS)
@pytest.mark.parametrize(("count", "others"), [*RANGES, *((b, a) for a, b in RANGES[1:3])])
@pytest.mark.parametrize("shift", [0, 1, 5, 20])
def test_equals_the_inner_join(
    converse: Converse, protocol: Any, learns: str, count: int, others: int, shift: int
) -> None:
    """From equal sets over overlapping ones to disjoint ones."""
    left, right = [f"p{i}" for i in range(count)], [f"p{i + shift}" for i in reversed(range(others))]
    joined = pd.DataFrame({"id": left}, dtype=object).merge(pd.DataFrame({"id": right}, dtype=object))
    check(converse, protocol, learns, left, right, set(joined["id"]))


IDS = st.lists(st.text("abé", max_size=2), max_size=8, unique=True)
CASES = st.tuples(st.sampled_from(PROTOCOLS), st.integers(2, 8), IDS, IDS)


def check_case(converse: Converse, case: Any) -> None:
    """Frames of the drawn size."""
    (protocol, learns), frame, left, right = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_items, "FRAME", frame)
        check(converse, protocol, learns, left, right, set(left) & set(right))


@settings(max_examples=500)
@given(case=CASES)
def test_five_hundred_random_cases(converse: Converse, case: Any) -> None:
    check_case(converse, case)


@pytest.mark.slow
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])
@given(case=CASES)
def test_ten_thousand_random_cases(converse: Converse, case: Any) -> None:
    check_case(converse, case)
