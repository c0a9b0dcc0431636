"""One spelling for each person, phone, account or passport, so that two parties' ids can meet.

`ID_KINDS` lists the kinds of id, `DUPLICATE_RULES` what may be done when an id occurs more than once, and
`normalise` turns a column of cells into ids. It never looks at a clock, a file or the network, and neither its
errors nor its `repr` hold an id.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import lru_cache
from operator import mul
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fedbank.errors import UsageError

__all__ = ["DUPLICATE_RULES", "ID_KINDS", "NormalisedIds", "check_rules", "normalise", "refusal", "spelled"]

ID_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "resident": "mainland resident id, 18 characters with its check digit, or the old 15 digits",
        "passport": "passport or travel document, 6 to 9 letters and digits, at least one of them a digit",
        "phone": "phone number: a mainland mobile, or any number with its country code",
        "account": "account or card number of 8 to 34 digits, or an IBAN with its check digits",
        "plain": "any other text of 1 to 128 characters; upper and lower case stay different",
    }
)
DUPLICATE_RULES: Mapping[str, str] = MappingProxyType(
    {
        "refuse": "stop with an error",
        "first": "keep the first row of each id",
        "last": "keep the last row of each id",
        "drop": "keep no row of an id that occurs more than once",
    }
)


@dataclass(frozen=True, repr=False, eq=False)
class NormalisedIds:
    """The ids that were kept, and why the others were not.

    Attributes
    ----------
    ids : the normalised ids, all different, in input order
    rows : int64 array (len(ids),), rising: the input row that each id came from
    rejected : number of rows by reason ("empty", "wrong check digit", ...), without zero entries
    duplicates : number of rows left out because their id occurs more than once

    `len(ids) + sum(rejected.values()) + duplicates` is the number of input rows.
    """

    ids: list[str]
    rows: NDArray[np.int64]
    rejected: dict[str, int]
    duplicates: int

    def __repr__(self) -> str:
        return f"NormalisedIds(kept={len(self.ids)}, rejected={self.rejected}, duplicates={self.duplicates})"


def normalise(values: Sequence[str | None], kind: str, duplicates: str = "refuse") -> NormalisedIds:
    """Bring every id to the one spelling of its kind.

    Width is unified first (Unicode NFKC). Normalising a normalised id changes nothing. The result does not name
    the kind: whoever hashes ids has to separate the kinds.

    Parameters
    ----------
    values : the cells; None is a missing one
    kind : a key of `ID_KINDS`
    duplicates : a key of `DUPLICATE_RULES`: what to do when an id occurs more than once after normalisation

    Raises
    ------
    UsageError
        Unknown `kind` or `duplicates`; a cell that is not text; rule "refuse" and an id that occurs twice.

    Notes
    -----
    `resident` follows GB 11643-1999: 6 digits region, 8 digits birth date, 3 digits order and a check character by
    ISO 7064 MOD 11-2. The region is not looked up, because regions were renumbered often. The birth year lies
    between 1850 and 2099. The 15-digit form (GB 11643-1989) is upgraded by "19" before its two-digit year; holders
    born before 1900 would need "18" and do not match.
    `phone` gives ITU-T E.164, such as +8613800000000. `account` checks ISO 13616 (mod 97) when the number starts
    with two letters, and nothing but length otherwise: bank-internal numbers have no common check digit.

    Examples
    --------
    >>> found = normalise(["１１０１０５ 19491231 002x", "110105491231002", None], "resident", duplicates="first")
    >>> found.ids, found.rows.tolist()
    (['11010519491231002X'], [0])
    >>> found
    NormalisedIds(kept=1, rejected={'empty': 1}, duplicates=1)
    """
    check_rules(kind, duplicates)
    ids, rows, rejected = spelled(values, kind)
    kept = _without_duplicates(ids, duplicates)
    return NormalisedIds(
        ids=[ids[place] for place in kept],
        rows=np.array([rows[place] for place in kept], dtype=np.int64),
        rejected=dict(rejected),
        duplicates=len(ids) - len(kept),
    )


def check_rules(kind: str, duplicates: str) -> None:
    """Raise UsageError for a kind of id or a rule for duplicates that there is not."""
    if kind not in _RULES:
        raise UsageError(f"There is no kind of id {kind!r}. The kinds are: {_listed(ID_KINDS)}.")
    if duplicates not in DUPLICATE_RULES:
        raise UsageError(f"There is no rule {duplicates!r} for duplicates. {_DUPLICATES_REMEDY}")


class _Reason(Enum):
    """Why a cell is not an id of its kind. The values are what reports show and do not change."""

    EMPTY = "empty"
    LENGTH = "wrong length"
    CHARACTER = "unexpected character"
    CHECK = "wrong check digit"
    BIRTH = "impossible birth date"
    NO_DIGIT = "no digit"
    COUNTRY = "no country code"


_Rule = Callable[[str], str | _Reason]


def spelled(values: Sequence[str | None], kind: str) -> tuple[list[str], list[int], Counter[str]]:
    """Apply a kind's rule to each cell: the ids, their rows, and the count of each reason. Duplicates stay."""
    rule = _RULES[kind]
    ids: list[str] = []
    rows: list[int] = []
    rejected: Counter[str] = Counter()
    for row, value in enumerate(values):
        if value is None:
            rejected[_Reason.EMPTY.value] += 1
            continue
        if not isinstance(value, str):
            raise UsageError(
                f"Ids have to be text, but row {row} holds {type(value).__name__}. Turn the ids into text; numbers "
                "lose leading zeros."
            )
        found = rule(value if value.isascii() else unicodedata.normalize("NFKC", value))
        if isinstance(found, str):
            ids.append(found)
            rows.append(row)
        else:
            rejected[found.value] += 1
    return ids, rows, rejected


def _without_duplicates(ids: list[str], rule: str) -> Sequence[int]:
    """Places in `ids` that the rule keeps, rising."""
    surplus = len(ids) - len(set(ids))
    if surplus == 0:
        return range(len(ids))
    if rule == "refuse":
        raise refusal(surplus, len(ids))
    if rule == "first":
        # Later writers win in a dict, so walking backwards leaves each id's first place.
        return sorted({ids[place]: place for place in reversed(range(len(ids)))}.values())
    if rule == "last":
        return sorted({one: place for place, one in enumerate(ids)}.values())
    times = Counter(ids)
    return [place for place, one in enumerate(ids) if times[one] == 1]


def refusal(surplus: int, count: int) -> UsageError:
    """The error of rule "refuse": so many of `count` rows repeat an id."""
    return UsageError(
        f"{surplus} of {count} rows repeat the id of another row after normalisation. {_DUPLICATES_REMEDY}"
    )


def _listed(meanings: Mapping[str, str]) -> str:
    return "; ".join(f"{name!r} ({meaning})" for name, meaning in meanings.items())


_DUPLICATES_REMEDY = f"Name what to do with them, duplicates= {_listed(DUPLICATE_RULES)}, or repair the table."

# White space, hyphens and dashes, and the characters of no width that spreadsheets and web pages leave behind.
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_SEPARATORS = re.compile(rf"[\s\-\u2010-\u2015\u2212{_INVISIBLE}]+")
_PHONE_SEPARATORS = re.compile(rf"[\s\-\u2010-\u2015\u2212{_INVISIBLE}().·/]+")
_EDGES = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")
_RESIDENT_BODY = re.compile(r"[0-9]{17}")
_FIFTEEN_DIGITS = re.compile(r"[0-9]{15}")
_PASSPORT = re.compile(r"[A-Za-z0-9]+")
_DIGITS = re.compile(r"[0-9]+")
_DIGIT = re.compile(r"[0-9]")
_INTERNATIONAL = re.compile(r"[1-9][0-9]*")
_MAINLAND_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]+")

_CHECK_WEIGHTS = [2 ** (18 - place) % 11 for place in range(1, 18)]  # GB 11643-1999, 4.4: 7, 9, 10, 5, ...
_CHECK_CHARACTERS = "10X98765432"  # by the weighted sum modulo 11
_ASCII_ZERO = 48
_IBAN_DIGITS = {character: str(int(character, 36)) for character in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _compact(value: str) -> str:
    return value if value.isalnum() else _SEPARATORS.sub("", value)


def _resident(value: str) -> str | _Reason:
    text = _compact(value)
    if len(text) == 15:
        return _upgraded(text)
    if len(text) != 18:
        return _Reason.LENGTH if text else _Reason.EMPTY
    last = "X" if text[17] == "x" else text[17]
    if not _RESIDENT_BODY.match(text) or last not in _CHECK_CHARACTERS:
        return _Reason.CHARACTER
    body = text[:17]
    if not _possible_birth(body[6:14]):
        return _Reason.BIRTH
    return body + last if last == _check_character(body) else _Reason.CHECK


def _upgraded(text: str) -> str | _Reason:
    """Turn the 15 digits of GB 11643-1989 into the 18 characters of GB 11643-1999."""
    if not _FIFTEEN_DIGITS.match(text):
        return _Reason.CHARACTER
    body = f"{text[:6]}19{text[6:]}"
    return body + _check_character(body) if _possible_birth(body[6:14]) else _Reason.BIRTH


def _check_character(body: str) -> str:
    """ISO 7064 MOD 11-2 over 17 ASCII digits."""
    digits_and_zeros = sum(map(mul, _CHECK_WEIGHTS, body.encode()))
    return _CHECK_CHARACTERS[(digits_and_zeros - _ASCII_ZERO * sum(_CHECK_WEIGHTS)) % 11]


@lru_cache(maxsize=1 << 17)  # more than there are days between 1850 and 2099
def _possible_birth(digits: str) -> bool:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return 1850 <= born.year <= 2099


def _passport(value: str) -> str | _Reason:
    text = _compact(value)
    if not text:
        return _Reason.EMPTY
    if not _PASSPORT.fullmatch(text):  # before upper(), which would turn a sharp s into two letters
        return _Reason.CHARACTER
    if not 6 <= len(text) <= 9:
        return _Reason.LENGTH
    return text.upper() if _DIGIT.search(text) else _Reason.NO_DIGIT


def _phone(value: str) -> str | _Reason:
    text = value if value.isalnum() else _PHONE_SEPARATORS.sub("", value)
    if not text:
        return _Reason.EMPTY
    if text.startswith("+"):
        return _international(text[1:])
    if text.startswith("00"):
        return _international(text[2:])
    if not _DIGITS.fullmatch(text):
        return _Reason.CHARACTER
    national = text[2:] if len(text) == 13 and text.startswith("86") else text
    return f"+86{national}" if _MAINLAND_MOBILE.fullmatch(national) else _Reason.COUNTRY


def _international(digits: str) -> str | _Reason:
    """Check the digits after + or 00 (ITU-T E.164: at most 15) and write them with +."""
    if not _INTERNATIONAL.fullmatch(digits):
        return _Reason.CHARACTER if digits else _Reason.LENGTH
    if re.match(r"861[3-9]", digits) and len(digits) != 13:
        return _Reason.LENGTH
    return f"+{digits}" if 7 <= len(digits) <= 15 else _Reason.LENGTH


def _account(value: str) -> str | _Reason:
    text = _compact(value)
    if not text:
        return _Reason.EMPTY
    if _COUNTRY.match(text):
        return _iban(text)
    if not _DIGITS.fullmatch(text):
        return _Reason.CHARACTER
    return text if 8 <= len(text) <= 34 else _Reason.LENGTH


def _iban(text: str) -> str | _Reason:
    """ISO 13616: country, two check digits, account; 1 modulo 97 with the first four moved to the end."""
    if not text.isascii() or not _IBAN.fullmatch(text := text.upper()):
        return _Reason.CHARACTER
    if not 15 <= len(text) <= 34:
        return _Reason.LENGTH
    number = int("".join(map(_IBAN_DIGITS.__getitem__, text[4:] + text[:4])))
    return text if number % 97 == 1 else _Reason.CHECK


def _plain(value: str) -> str | _Reason:
    text = _EDGES.sub("", value)
    if not text:
        return _Reason.EMPTY
    return text if len(text) <= 128 else _Reason.LENGTH


_RULES: Mapping[str, _Rule] = {
    "resident": _resident,
    "passport": _passport,
    "phone": _phone,
    "account": _account,
    "plain": _plain,
}
