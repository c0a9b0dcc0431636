"""Normalising ids: examples from the standards, properties, rejections, duplicates."""

from collections import Counter
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbank.data.ids import DUPLICATE_RULES, ID_KINDS, NormalisedIds, normalise
from fedbank.errors import UsageError

KINDS = st.sampled_from(sorted(ID_KINDS))
DIGITS = "0123456789"
DAYS = st.dates(min_value=date(1850, 1, 1), max_value=date(2099, 12, 31))


def check_character(body: str) -> str:
    """ISO 7064 MOD 11-2 by its recursive definition, not by weights: an independent way to the same character."""
    remainder = 0
    for digit in body:
        remainder = (remainder + int(digit)) * 2 % 11
    return "0123456789X"[(12 - remainder) % 11]


@st.composite
def residents(draw: st.DrawFn, first_year: int = 1850, last_year: int = 2099) -> str:
    born = draw(DAYS.filter(lambda day: first_year <= day.year <= last_year))
    region = draw(st.integers(110000, 659999))
    body = f"{region}{born:%Y%m%d}{draw(st.integers(0, 999)):03}"
    return body + check_character(body)


# What people type: digits of each kind's alphabet with separators, full-width forms and rubbish among them.
CELLS = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.text(alphabet="0123456789Xx+- ０９Ｘ（）ab", max_size=20),
    residents(),
    st.from_regex(r"(\+86|0086|86)? ?1[3-9][0-9]{9}", fullmatch=True),
)


def one(value: str | None, kind: str) -> str:
    """The normalised id, or the reason why there is none."""
    found = normalise([value], kind)
    return found.ids[0] if found.ids else next(iter(found.rejected))


@pytest.mark.parametrize(
    ("written", "kind", "meant"),
    [
        ("11010519491231002X", "resident", "11010519491231002X"),  # GB 11643-1999, appendix A
        ("440524188001010014", "resident", "440524188001010014"),  # GB 11643-1999, appendix A
        ("110105 19491231-002x", "resident", "11010519491231002X"),
        ("１１０１０５１９４９１２３１００２Ｘ", "resident", "11010519491231002X"),
        ("\ufeff11010519491231002ⅹ\u200b", "resident", "11010519491231002X"),
        ("110105491231002", "resident", "11010519491231002X"),
        ("e1234567 8", "passport", "E12345678"),
        ("Ｇ１２３４５６７８", "passport", "G12345678"),
        ("13812345678", "phone", "+8613812345678"),
        ("+86 138-1234-5678", "phone", "+8613812345678"),
        ("0086 (138) 1234.5678", "phone", "+8613812345678"),
        ("86 13812345678", "phone", "+8613812345678"),
        ("＋４４ 20 7946 0958", "phone", "+442079460958"),
        ("+86 10 6554 0000", "phone", "+861065540000"),
        ("0062 2200-0123", "account", "006222000123"),
        ("gb82 west 1234 5698 7654 32", "account", "GB82WEST12345698765432"),  # ISO 13616 registry
        ("DE89370400440532013000", "account", "DE89370400440532013000"),  # ISO 13616 registry
        ("　客户 Ａ-1\t", "plain", "客户 A-1"),
        ("a" * 128, "plain", "a" * 128),
    ],
)
def test_worked_examples(written: str, kind: str, meant: str) -> None:
    assert one(written, kind) == meant


@pytest.mark.parametrize(
    ("written", "kind", "reason"),
    [
        (None, "resident", "empty"),
        (" - ", "resident", "empty"),
        ("1101051949123100", "resident", "wrong length"),
        ("110105194912310021", "resident", "wrong check digit"),
        ("110105194902300028", "resident", "impossible birth date"),
        ("110105210001010027", "resident", "impossible birth date"),
        ("110105490230002", "resident", "impossible birth date"),
        ("11010518491231002" + check_character("11010518491231002"), "resident", "impossible birth date"),
        ("11010519491231002Y", "resident", "unexpected character"),
        ("1101O519491231002X", "resident", "unexpected character"),
        ("11010549123100X", "resident", "unexpected character"),
        ("", "passport", "empty"),
        ("E1234", "passport", "wrong length"),
        ("E123456789", "passport", "wrong length"),
        ("ABCDEFG", "passport", "no digit"),
        ("E1234/67", "passport", "unexpected character"),
        ("ß1234567", "passport", "unexpected character"),
        ("()", "phone", "empty"),
        ("12345678901", "phone", "no country code"),
        ("1381234567", "phone", "no country code"),
        ("+86 1381234567", "phone", "wrong length"),
        ("+1234567890123456", "phone", "wrong length"),
        ("+", "phone", "wrong length"),
        ("+0138123456", "phone", "unexpected character"),
        ("13812345678x", "phone", "unexpected character"),
        ("", "account", "empty"),
        ("1234567", "account", "wrong length"),
        ("1" * 35, "account", "wrong length"),
        ("1234567A", "account", "unexpected character"),
        ("13800000000.0", "account", "unexpected character"),
        ("GB82WEST12345698765423", "account", "wrong check digit"),
        ("GB82WEST123456", "account", "wrong length"),
        ("GBXXWEST12345698765432", "account", "unexpected character"),
        (" \u200b ", "plain", "empty"),
        ("a" * 129, "plain", "wrong length"),
    ],
)
def test_rejections(written: str | None, kind: str, reason: str) -> None:
    found = normalise([written], kind)
    assert (found.ids, found.rejected) == ([], {reason: 1})


@given(KINDS, st.lists(CELLS, max_size=20), st.sampled_from(["first", "last", "drop"]))
def test_every_row_is_accounted_for(kind: str, cells: list[str | None], rule: str) -> None:
    found = normalise(cells, kind, rule)
    assert len(found.ids) + sum(found.rejected.values()) + found.duplicates == len(cells)
    assert len(set(found.ids)) == len(found.ids) == len(found.rows)
    assert found.rows.dtype == np.int64
    assert np.all(np.diff(found.rows) > 0)
    assert [one(cells[row], kind) for row in found.rows] == found.ids


@given(KINDS, st.lists(CELLS, max_size=20))
def test_normalising_twice_changes_nothing(kind: str, cells: list[str | None]) -> None:
    once = normalise(cells, kind, "first").ids
    again = normalise(once, kind)
    assert (again.ids, again.rejected) == (once, {})


@given(residents())
def test_full_width_lower_case_and_separators_are_the_same_person(resident: str) -> None:
    assert one(resident, "resident") == resident
    assert one("".join(chr(ord(letter) + 0xFEE0) for letter in resident), "resident") == resident
    assert one(f" {resident[:6]}-{resident[6:14]} {resident[14:].lower()}", "resident") == resident


@given(st.sampled_from(["phone", "account", "plain"]), st.text(alphabet=DIGITS, min_size=1, max_size=20))
def test_full_width_digits_are_digits(kind: str, digits: str) -> None:
    assert one("".join(chr(ord(digit) + 0xFEE0) for digit in digits), kind) == one(digits, kind)


@given(residents(first_year=1900, last_year=1999))
def test_old_and_new_form_of_a_person_match(resident: str) -> None:
    assert one(resident[:6] + resident[8:17], "resident") == resident


@given(residents(), st.integers(0, 17), st.sampled_from(DIGITS))
def test_one_wrong_digit_is_noticed(resident: str, place: int, digit: str) -> None:
    wrong = resident[:place] + digit + resident[place + 1 :]
    assert (one(wrong, "resident") == resident) == (wrong == resident)
    if wrong != resident:
        assert one(wrong, "resident") in ("wrong check digit", "impossible birth date")


@given(residents(), st.integers(0, 16))
def test_swapped_neighbours_are_noticed(resident: str, place: int) -> None:
    swapped = resident[:place] + resident[place + 1] + resident[place] + resident[place + 2 :]
    assert normalise([swapped], "resident").ids == ([resident] if swapped == resident else [])


REPEATED = ["13800000001", "+86 138 0000 0002", None, "13800000002", "13800000003", "13800000002"]


@pytest.mark.parametrize(
    ("rule", "rows", "left_out"), [("first", [0, 1, 4], 2), ("last", [0, 4, 5], 2), ("drop", [0, 4], 3)]
)
def test_duplicates(rule: str, rows: list[int], left_out: int) -> None:
    found = normalise(REPEATED, "phone", rule)
    assert found.rows.tolist() == rows
    assert found.duplicates == left_out
    assert found.rejected == {"empty": 1}


def test_duplicates_are_refused_unless_a_rule_is_named() -> None:
    with pytest.raises(UsageError, match="2 of 5 rows repeat the id") as caught:
        normalise(REPEATED, "phone")
    assert all(repr(rule) in str(caught.value) for rule in DUPLICATE_RULES)
    assert "1380000000" not in str(caught.value)


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12))
def test_duplicate_rules_equal_their_meaning(cells: list[str]) -> None:
    times = Counter(cells)
    assert normalise(cells, "plain", "first").ids == list(dict.fromkeys(cells))
    assert normalise(cells, "plain", "last").ids == list(dict.fromkeys(reversed(cells)))[::-1]
    assert normalise(cells, "plain", "drop").ids == [cell for cell in cells if times[cell] == 1]


def test_no_rows() -> None:
    found = normalise([], "plain")
    assert (found.ids, found.rows.tolist(), found.rejected) == ([], [], {})
    assert found.rows.dtype == np.int64


def test_unknown_kind_and_rule_list_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        normalise([], "social")
    assert all(repr(kind) in str(caught.value) for kind in ID_KINDS)
    with pytest.raises(UsageError, match="There is no rule 'any'"):
        normalise([], "plain", "any")


@pytest.mark.parametrize("kind", sorted(ID_KINDS))
def test_every_kind_has_a_rule_and_a_description(kind: str) -> None:
    assert normalise([None], kind).rejected == {"empty": 1}
    assert ID_KINDS[kind]


def test_numbers_are_refused_without_showing_them() -> None:
    with pytest.raises(UsageError, match="row 1 holds int") as caught:
        normalise(["00012345", 12346], "account")  # type: ignore[list-item]
    assert "12346" not in str(caught.value)


def test_repr_shows_counts_only() -> None:
    found = normalise(["00012345", "x"], "account")
    assert repr(found) == "NormalisedIds(kept=1, rejected={'unexpected character': 1}, duplicates=0)"
    assert isinstance(found, NormalisedIds)
