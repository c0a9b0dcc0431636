"""Description of columns: a worked example, equality with the joined table, a bad peer at every receive, who learns
what (simulators, the Haar matrix), suggestions."""

import dataclasses
import os
from collections import Counter
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.models import description
from fedbank.models.column_facts import OwnFacts, own_facts, spun, standardised, variance_inflation, whitened
from fedbank.models.described import Description, suggest_columns
from fedbank.models.description import (
    ColumnsOffered,
    Request,
    UpperShares,
    active,
    disclosures,
    passive,
    sums_of_indicators,
    sums_of_standardised,
)
from fedbank.models.description_requests import Extent, dropped_bits
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.product_parameters import Sizes, choose_transposed
from fedbank.talk.codec import encode
from fedbank.talk.peer import Stopped

CONFIDENCE = 1e-6
ALL = (Request("correlation"), Request("missing"), Request("vif"))
NAN = np.nan


def table(features, prefix="a"):
    """As much of a table as a description looks at."""
    features = np.asarray(features, dtype=np.float64)
    return SimpleNamespace(features=features, names=tuple(f"{prefix}{j}" for j in range(features.shape[1])))


def roles(a, b, requests=ALL, engine=plain_product, **options):
    options = {"cells_per_number": 0, "engine": engine, **options}
    return (
        lambda peer: active(peer, table(a, "a"), requests, **options),
        lambda peer: passive(peer, table(b, "b"), requests, **options),
    )


def joined_correlation(a, b):
    """Pearson's of all columns of both, missing cells as the mean, 0 beside a column of one value."""
    frame = pd.DataFrame(np.hstack([a, b]), dtype=float)
    frame = frame.fillna(frame.mean()).fillna(0)
    with np.errstate(all="ignore"):
        found = np.nan_to_num(frame.corr().to_numpy(copy=True), nan=0.0)
    return np.where((frame.max() == frame.min()).to_numpy()[:, None], 0, found)


def joined_vif(a, b):
    """1 / (1 - R^2) of the regression of each of a's columns on all others of both; NaN for a column of one value."""
    x = np.hstack([standardised(np.asarray(a, float)), standardised(np.asarray(b, float))])
    found = []
    for j in range(a.shape[1]):
        rest = np.delete(x, j, axis=1)
        left = x[:, j] - rest @ np.linalg.lstsq(rest, x[:, j], rcond=1e-9)[0] if rest.size else x[:, j]
        share = (left @ left) / len(x)
        found.append(NAN if not x[:, j].any() else np.inf if share < 1e-9 else 1 / share)
    return np.array(found)


def some(people, columns, seed=0, missing=0.1):
    draw = np.random.default_rng(seed)
    x = draw.normal(3, 2, (people, columns))
    x[:, 1:] += 0.5 * x[:, :1]
    x[draw.random(x.shape) < missing] = NAN
    return x


def related(people, a, b, seed=0):
    """Two tables that share a cause."""
    x = some(people, a + b, seed)
    return x[:, :a], x[:, a:]


# Worked example: four people, income and a flag at one party, age at the other


def test_four_people(converse):
    own, theirs = np.array([[1.0, 0], [2, 0], [3, 1], [NAN, NAN]]), np.array([[10.0], [20], [NAN], [NAN]])
    talk = converse(*roles(own, theirs))
    # income, filled with its mean 2: (1, 2, 3, 2), deviations (-1, 0, 1, 0); age: 15, deviations (-5, 5, 0, 0)
    assert talk.left.correlation.tolist() == [[0.5], [0.0]]
    assert talk.right.correlation.tolist() == talk.left.correlation.T.tolist()
    assert talk.left.joint_missing.tolist() == [[0.25], [0.25]]
    assert talk.left.missing_given_own.tolist() == [[1.0], [1.0]]  # whose income is missing, their age is
    assert talk.right.missing_given_own.tolist() == [[0.5, 0.5]]
    # Income with the flag sqrt 3 / 2, with age 1/2, flag with age 0: R has determinant 1 - 3/4 - 1/4 = 0.
    assert talk.left.vif.tolist() == [np.inf, np.inf]
    assert talk.right.vif.tolist() == [np.inf]


def test_two_parties_with_one_column_each(converse):
    """r = 0.6: each factor is 1 / (1 - 0.36)."""
    talk = converse(*roles([[4.0], [3], [-3], [-4]], [[4.0], [-3.0], [3], [-4]], [Request("vif")]))
    assert talk.left.explained == pytest.approx(np.array([[(14 / 50) ** 2]]), abs=1e-6)
    assert talk.left.vif.tolist() == talk.right.vif.tolist() == [round(1 / (1 - 0.28**2), 2)]


# Equality with the joined table


@st.composite
def tables(draw):
    people, a, b = draw(st.integers(1, 12)), draw(st.integers(0, 4)), draw(st.integers(0, 4))
    cells = st.sampled_from([NAN, 0.0, 1.0, 2.0, -5.0, 1e308, 1e-300])
    own = st.lists(cells, min_size=people, max_size=people)
    columns = [draw(own) for _ in range(a + b)]
    if a + b > 1 and draw(st.booleans()):
        columns[-1] = columns[0]  # the same at both parties, or twice at one
    x = np.array(columns, dtype=float).reshape(a + b, people).T
    return x[:, :a], x[:, a:]


@settings(max_examples=60)
@given(pair=tables(), digits=st.integers(1, 6))
def test_equals_the_joined_table_whatever_it_holds(pair, digits, converse):
    a, b = pair
    requests = [Request("vif"), Request("missing", digits=digits), Request("correlation", digits=digits)]
    talk = converse(*roles(a, b, requests))
    count = a.shape[1]
    x = np.hstack([standardised(a), standardised(b)])
    both = x.T @ x / len(x)
    missing = np.isnan(a).T.astype(float) @ np.isnan(b) / len(a)
    for found, turn in ((talk.left, lambda m: m), (talk.right, np.transpose)):
        assert np.abs(found.correlation - turn(both[:count, count:])).max(initial=0) <= 1.001 * 10.0**-digits
        assert np.abs(found.joint_missing - turn(missing)).max(initial=0) <= 1.001 * 10.0**-digits
    assert np.array_equal(talk.left.correlation, talk.right.correlation.T)
    assert_factors(talk.left, a, b)
    assert_factors(talk.right, b, a)


def assert_factors(found, own, theirs):
    """Held where the table of both is not itself close to collinear: that is where factors are told to three digits."""
    expected = joined_vif(own, theirs)
    x, y = standardised(own), whitened(standardised(theirs))
    k = x.T @ y / len(x)
    assert found.explained == pytest.approx(k @ k.T, abs=1e-5)
    values, vectors = np.linalg.eigh(x.T @ x / len(x) - k @ k.T)
    null = values < 1e-9
    if not ((values < 1e-3) & ~null).any():
        taking_part = (vectors[:, null] ** 2).sum(axis=1)
        constant = np.isnan(expected)
        clear = ~constant & (taking_part < 1e-12)
        assert np.isnan(found.vif[constant]).all() and not np.isnan(found.vif[~constant]).any()
        assert found.vif[clear] == pytest.approx(expected[clear], rel=6e-3)
        assert np.isinf(found.vif[~constant & (taking_part > 0.02)]).all()


@pytest.mark.parametrize(("a", "b"), [(1, 1), (3, 4), (4, 3), (1, 6), (6, 1), (3, 3)])
def test_equals_pandas_and_the_regressions(a, b, converse):
    own, theirs = related(400, a, b, seed=a)
    talk = converse(*roles(own, theirs, [Request("correlation", digits=6), *ALL[1:]]))
    expected = joined_correlation(own, theirs)
    assert np.abs(talk.left.correlation - expected[:a, a:]).max() < 1e-6
    assert talk.left.facts.correlation == pytest.approx(expected[:a, :a], abs=1e-12)
    assert talk.right.facts.correlation == pytest.approx(expected[a:, a:], abs=1e-12)
    assert talk.left.vif == pytest.approx(np.diag(np.linalg.inv(expected))[:a], rel=5.1e-3)
    assert talk.right.vif == pytest.approx(np.diag(np.linalg.inv(expected))[a:], rel=5.1e-3)
    assert talk.left.vif == pytest.approx(joined_vif(own, theirs), rel=5.1e-3)
    frame = pd.DataFrame(own)
    assert talk.left.facts.missing == pytest.approx(frame.isna().mean().to_numpy())
    assert talk.left.facts.mean == pytest.approx(frame.mean().to_numpy())
    assert talk.left.facts.deviation == pytest.approx(frame.std(ddof=0).to_numpy())


def test_equals_the_joined_table_under_encryption(converse):
    own, theirs = related(300, 2, 3)
    private, plain = (converse(*roles(own, theirs, engine=engine)) for engine in (private_product, plain_product))
    expected = joined_correlation(own, theirs)
    assert np.abs(private.left.correlation - expected[:2, 2:]).max() <= 1e-4
    for one, two in ((private.left, plain.left), (private.right, plain.right)):
        assert one.joint_missing.tolist() == two.joint_missing.tolist()
        assert one.vif == pytest.approx(two.vif, rel=1e-9)
    assert private.left.schemes == private.right.schemes
    assert all(scheme.security_bits >= 128 for scheme in private.left.schemes)
    assert [scheme.name for scheme in plain.left.schemes] == ["PLAINTEXT"]


def test_factors_up_to_a_thousand_hold_to_three_digits(converse):
    draw = np.random.default_rng(3)
    cause = draw.normal(size=(2000, 1))
    own = np.hstack([cause + draw.normal(size=(2000, 1)) * noise for noise in (1, 0.1, 0.05)])
    talk = converse(*roles(own, cause, [Request("vif")]))
    expected = joined_vif(own, cause)
    assert expected.max() > 300
    assert talk.left.vif == pytest.approx(expected, rel=6e-3)
    assert talk.right.vif == pytest.approx(joined_vif(cause, own), rel=6e-3)


# Odd columns


ODD = np.array([[1.0, 7, NAN, 1], [2, 7, NAN, 2], [4, NAN, NAN, 4], [9, 7, NAN, 9], [0, 7, NAN, 0]])


def test_constant_missing_and_duplicate_columns(converse):
    theirs = np.array([[1.0], [0], [0], [1], [1]])
    found = converse(*roles(ODD, theirs)).left
    assert found.correlation[1:3].tolist() == [[0.0], [0.0]]
    assert found.correlation[0] == found.correlation[3]
    assert found.joint_missing.tolist() == [[0.0]] * 4
    assert found.vif[[0, 3]].tolist() == [np.inf, np.inf] and np.isnan(found.vif[1:3]).all()
    assert found.facts.varying.tolist() == [True, False, False, True]
    assert found.facts.missing.tolist() == [0, 0.2, 1, 0]
    assert found.facts.deviation[1] == 0 and np.isnan(found.facts.deviation[2]) and np.isnan(found.facts.mean[2])
    assert np.isnan(found.missing_given_own[[0, 3]]).all()
    assert "inf" in str(found) and "nan" in str(found)


@pytest.mark.parametrize("shape", [(1, 2, 2), (5, 0, 3), (5, 3, 0), (1, 0, 0)])
def test_one_row_and_no_columns(shape, converse):
    people, a, b = shape
    found = converse(*roles(some(people, a + 1)[:, :a], some(people, b + 1)[:, :b])).left
    assert found.correlation.shape == found.joint_missing.shape == (a, b)
    assert not found.correlation.any()
    assert found.vif.shape == (a,) and (people > 1 or np.isnan(found.vif).all())
    assert suggest_columns(found).peer_dropped == ()
    assert str(found).startswith("Opened\n")


def test_without_the_peers_columns_factors_are_those_of_the_own_table(converse):
    own = some(200, 3)
    found = converse(*roles(own, np.zeros((200, 0)))).left
    assert found.vif == pytest.approx(np.diag(np.linalg.inv(found.facts.correlation)), rel=5.1e-3)


def test_huge_and_tiny_numbers_stay_finite():
    x = np.array([[1e308, 5e-324, 1e16], [-1e308, 0, 1e16 + 2], [NAN, NAN, 1e16 + 4]])
    standard = standardised(x)
    facts = own_facts(x, standard)
    assert (standard**2).mean(axis=0) == pytest.approx(np.ones(3))
    assert facts.deviation[0] == 1e308 and facts.mean[0] == 0
    assert facts.correlation[0, 0] == 1


# Fixed point


@pytest.mark.parametrize("people", [1, 2, 3, 10, 1000, 2**17, 10**6, 2**22 - 1, 2**22])
def test_sums_cannot_wrap(people):
    """|sum| <= |x| |y| by Cauchy and Schwarz, for columns of length sqrt n at scale f with errors below 1 a cell."""
    sums = sums_of_standardised(people)
    length = sums.scale * people**0.5 + people**0.5
    step = 2 ** dropped_bits(sums.one, 1)
    assert length**2 + step < 2 ** (sums.bits - 1)
    assert sums.scale * people**0.5 + 1 <= sums.bound
    assert dropped_bits(sums.one, 6) > 0
    assert 2 ** dropped_bits(sums.one, 6) <= sums.one * 1e-6 / 4
    for fixed in (sums, sums_of_indicators(people)):
        choose_transposed(Sizes(people, 50, fixed.bits, fixed.bound, calls=20))
    counts = sums_of_indicators(people)
    assert people + 2 ** dropped_bits(people, 1) < 2 ** (counts.bits - 1)


@pytest.mark.parametrize("digits", [1, 4, 6])
@pytest.mark.parametrize("people", [2, 5, 3000])
def test_the_largest_and_smallest_correlations_do_not_wrap(people, digits, converse):
    """One person apart from all others: an entry of sqrt(n - 1)."""
    spike = np.arange(people)[:, None] == 0
    own, theirs = np.hstack([spike, ~spike]).astype(float), np.hstack([spike, spike, ~spike]) * 3.5
    talk = converse(*roles(own, theirs, [Request("correlation", digits=digits)]))
    assert talk.left.correlation.tolist() == [[1, 1, -1], [-1, -1, 1]]
    assert talk.right.correlation.tolist() == np.transpose([[1, 1, -1], [-1, -1, 1]]).tolist()


# Requests, sentences, refusals


def test_sentences_say_who_learns_how_many_numbers():
    requests = [Request("vif", "passive"), Request("correlation"), Request("missing", "active", 2)]
    said = disclosures(requests, Extent(100_000, 3, 5))
    assert said == (
        "Both parties learn how many columns the other one describes (3 and 5), and nothing else but what follows.",
        "The active party learns 15 numbers: the correlation of each of its 3 columns with each of the passive party's "
        "5, by number, to 4 digits.",
        "The passive party learns 15 numbers: the correlation of each of its 5 columns with each of the active party's "
        "3, by number, to 4 digits.",
        "The active party learns 15 numbers: of each of its 3 columns with each of the passive party's 5, by number, "
        "the share of people missing in both, to 2 digits.",
        "The passive party learns 12 numbers: what the active party's 3 columns together explain of the correlations "
        "among its own 5, to 6 digits, for the variance inflation factors of its own columns.",
        "From both together the passive party can compute all of the correlations among the active party's own "
        "columns.",
    )
    assert "as an exact count" in disclosures([Request("missing", "active")], Extent(100, 3, 5))[1]
    assert "up to one common sign" in disclosures([Request("vif", "active")], Extent(100, 3, 1))[1]
    assert disclosures([], Extent(100, 3, 5)) == said[:1]


def test_correlations_and_what_they_explain_give_the_peers_own_correlations(converse):
    """The sentence "from both together" is true: K K^T = C R_BB^-1 C^T."""
    own, theirs = related(3000, 3, 2)
    requests = [Request("correlation", "active", 6), Request("vif", "active")]
    found = converse(*roles(own, theirs, requests)).left
    inverse = np.linalg.pinv(found.correlation)
    computed = np.linalg.inv(inverse @ found.explained @ inverse.T)
    assert computed == pytest.approx(joined_correlation(own, theirs)[3:, 3:], abs=1e-3)
    assert found.disclosures[-1].startswith("From both together the active party can compute all")


@pytest.mark.parametrize(
    "bad", [("auc", "both", 4), ("vif", "bank", 4), ("missing", "both", 0), ("missing", "both", 7)]
)
def test_a_request_that_is_none_is_refused(bad):
    with pytest.raises(UsageError, match="A description opens 'correlation', 'missing', 'vif', 'iv' or 'woe'"):
        Request(*bad)


@pytest.mark.parametrize("role", [active, passive])
def test_what_cannot_be_described_is_refused_and_nothing_is_sent(role, saying):
    peer = saying([])
    for features, requests, sentence in (
        (np.zeros((0, 2)), ALL, "1 to 4194304 people in common and 4096 columns at most; found 0 and 2"),
        (np.zeros((1, 4097)), ALL, "found 1 and 4097"),
        (np.zeros((1, 1)), [*ALL, ALL[0]], "opens each kind once"),
    ):
        with pytest.raises(UsageError, match=sentence):
            role(peer, table(features), requests)
    assert peer.transcript == []


@pytest.mark.parametrize("role", [active, passive])
def test_numbers_with_too_few_cells_behind_them_are_refused(role, saying):
    """Three kinds of 2 x 2, 2 x 2 and 3 numbers about 2 n cells: 110 need n = 55."""
    for people, fits in ((55, True), (54, False)):
        talk = overhear(*roles(some(55, 2), some(55, 2)))
        heard = (talk.left_peer if role is active else talk.right_peer).heard
        peer = saying([dataclasses.replace(heard[0], people=people), *heard[1:]])
        if fits:
            role(peer, table(some(people, 2)), ALL, engine=plain_product)
        else:
            with pytest.raises(UsageError, match="11 numbers about 108 cells to the active party; below 10 cells"):
                role(peer, table(some(people, 2)), ALL, engine=plain_product)
            assert [frame.direction for frame in peer.transcript] == ["sent", "received"]


# A bad peer at every receive


SMALL = related(20, 2, 3)
ROLES = dict(zip(("active", "passive"), roles(*SMALL), strict=True))
UPPER = "UpperShares"
HEARD = {
    "active": ["ColumnsOffered", *["PlainShare", "PlainShare", "UpperShares"] * 3, "PlainShare", "PlainShare"],
    "passive": ["ColumnsOffered", *["PlainNumbers", "PlainNumbers", "UpperShares"] * 2, *["PlainNumbers"] * 4, UPPER],
}
EVERY_RECEIVE = pytest.mark.parametrize(
    ("role", "at", "kind"), [(role, at, kind) for role, heard in HEARD.items() for at, kind in enumerate(heard)]
)


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    talk = overhear(*roles(*SMALL))
    return {"active": talk.left_peer.heard, "passive": talk.right_peer.heard}


@pytest.mark.parametrize("role", ROLES)
def test_a_good_peer_is_answered(role, good, saying):
    assert [type(message).__name__ for message in good[role]] == HEARD[role]
    assert isinstance(ROLES[role](saying(good[role])), Description)


@EVERY_RECEIVE
def test_a_spoilt_frame_is_refused(role, at, kind, good, saying, spoil):
    with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
        ROLES[role](saying([*good[role][:at], spoil(encode(good[role][at]))]))


@EVERY_RECEIVE
def test_a_peer_that_ends_is_reported(role, at, kind, good, saying):
    with pytest.raises(PeerError, match="bank stopped at step 'describing'"):
        ROLES[role](saying([*good[role][:at], Stopped("describing")]))
    with pytest.raises(PeerGone, match=f"bank is gone while {kind} was awaited"):
        ROLES[role](saying(good[role][:at]))


@EVERY_RECEIVE
def test_another_kind_or_a_wrong_count_is_refused(role, at, kind, good, saying):
    wrong = [message for message in good[role] if type(message).__name__ != kind]
    message = good[role][at]
    if kind == "ColumnsOffered":
        wrong += [dataclasses.replace(message, requests=text) for text in (b"", bytes(31), bytes(33))]
    else:
        values = message.values
        wrong += [dataclasses.replace(message, values=other) for other in (values[:-1], values[:0], values[None])]
        wrong += [dataclasses.replace(message, values=values.T.copy())] * (values.ndim > 1)
    for other in wrong:
        with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{kind}"):
            ROLES[role](saying([*good[role][:at], other]))


@pytest.mark.parametrize("role", ROLES)
def test_other_people_columns_or_requests_are_refused(role, good, saying):
    offered = good[role][0]
    for change, sentence in (
        ({"people": 21}, "of 21 people, expected 20 people"),
        ({"columns": -1}, "bank describes -1 columns"),
        ({"columns": 4097}, "bank describes 4097 columns"),
        ({"requests": bytes(32)}, "bank was asked to open something else"),
    ):
        with pytest.raises(PeerError, match=sentence):
            ROLES[role](saying([dataclasses.replace(offered, **change), *good[role][1:]]))


@pytest.mark.parametrize("role", ROLES)
def test_upper_bits_out_of_range_are_refused(role, good, saying):
    at = HEARD[role].index("UpperShares")
    for value in (-1, 2**60):
        bad = UpperShares(np.full_like(good[role][at].values, value))
        with pytest.raises(PeerError, match="Upper bits of shares from bank are expected from 0 to"):
            ROLES[role](saying([*good[role][:at], bad]))


def test_the_bytes_of_its_messages():
    assert encode(ColumnsOffered(5, 2, b"\x01\x02")).hex() == (
        "5a4c35a66cb2346f0500000000000000020000000000000002000000000000000102"
    )
    assert encode(UpperShares(np.array([[1, -2]]))).hex() == (
        "711abab44f24d7b702010000000000000002000000000000000100000000000000feffffffffffffff"
    )
    assert repr(UpperShares(np.array([[1, 7777]]))) == "UpperShares(values: int64[1, 2])"


# Who learns what. The products are ideal: each end has uniform shares. What is opened is made from the declared output.


class Remembered:
    """An engine whose shares at this end are kept, or dealt: uniform ones without a word to the peer."""

    def __init__(self, dealt=False, random=os.urandom):
        self.shares = []
        self._dealt = dealt
        self._random = random

    def VectorHolder(self, peer, sizes, **options):
        return self._holder(plain_product.VectorHolder, sizes, peer, sizes)

    def MatrixHolder(self, peer, matrix, sizes, **options):
        return self._holder(plain_product.MatrixHolder, sizes, peer, matrix, sizes, random=self._random)

    def _holder(self, kind, sizes, *arguments, **options):
        holder = None if self._dealt else kind(*arguments, **options)

        def transposed_times(*vector):
            if self._dealt:
                drawn = np.frombuffer(os.urandom(8 * sizes.features), np.uint64) & np.uint64(2**sizes.bits - 1)
            else:
                drawn = holder.transposed_times(*vector)
            self.shares.append(drawn)
            return drawn

        return SimpleNamespace(scheme=plain_product.SCHEME, transposed_times=transposed_times)


PEOPLE = 500
SIDES = pytest.mark.parametrize("side", ["active", "passive"])
A, B = related(PEOPLE, 3, 4, seed=5)
STANDARD, COUNTS = sums_of_standardised(PEOPLE), sums_of_indicators(PEOPLE)
OPENED = [(STANDARD, 4), (COUNTS, 2), (STANDARD, 6)]  # sums and digits of each request below


def requests_to(side):
    return [Request("correlation", side), Request("missing", side, 2), Request("vif", side)]


def overheard(side, **options):
    """A run that opens to one side, as heard there, with the shares that its engine gave it."""
    engine = Remembered(**options)
    own, other = (A, B) if side == "active" else (B, A)
    mine, theirs = (active, passive) if side == "active" else (passive, active)
    talk = overhear(
        lambda peer: mine(peer, table(own), requests_to(side), engine=engine),
        lambda peer: theirs(peer, table(other), requests_to(side), engine=Remembered(**options)),
    )
    return SimpleNamespace(result=talk.left, heard=talk.left_peer.heard, said=talk.left_peer.said, engine=engine)


def own_shares(engine, side):
    """What the side's engine gave, one array (own, peer's) for each request."""
    count = len(engine.shares) // 3
    parts = [np.stack(engine.shares[count * k : count * (k + 1)]) for k in range(3)]
    return parts if side == "active" else [part.T for part in parts]  # the active party has fewer columns: it encrypts


def opened_steps(upper, share, sums, digits):
    """The sum opened as a whole number of steps."""
    dropped = dropped_bits(sums.one, digits)
    modulus = 2 ** (sums.bits - dropped)
    total = (upper + (share >> np.uint64(dropped)).astype(np.int64) + (dropped > 0)) % modulus
    return total - modulus * (total >= modulus // 2)


def simulate(output, shares):
    """Upper bits from the declared output and uniform shares: correlations and counts to a step, and K K^T."""
    correlation, missing, explained, theirs = output
    values, vectors = np.linalg.eigh(explained)
    root = np.zeros((len(explained), theirs))
    rank = min(theirs, len(explained))  # as many columns as the peer has, the eigenvalues beyond them are 0
    root[:, :rank] = (vectors * np.sqrt(np.maximum(values, 0)))[:, -rank:]
    step = 2 ** dropped_bits(STANDARD.one, 6)
    turned = np.rint(spun(root) * STANDARD.one / step).astype(np.int64)
    messages = []
    for steps, share, (sums, digits) in zip([correlation, missing, turned], shares, OPENED, strict=True):
        dropped = dropped_bits(sums.one, digits)
        upper = (steps - (share >> np.uint64(dropped)).astype(np.int64) - (dropped > 0)) % 2 ** (sums.bits - dropped)
        messages.append(UpperShares(upper))
    return messages


def declared_output(run, side):
    """What the side learns, taken from a real run."""
    uppers = [message.values for message in kinds(run.heard, UpperShares)]
    steps = [
        opened_steps(upper, share, *how)
        for upper, share, how in zip(uppers, own_shares(run.engine, side), OPENED, strict=True)
    ]
    return steps[0], steps[1], run.result.explained, run.result.peer_columns


class Dealt(Remembered):
    """Shares dealt beforehand: the simulator's."""

    def __init__(self, shares, side):
        super().__init__(dealt=True)
        self._left = [row for share in shares for row in (share if side == "active" else share.T)]

    def _holder(self, kind, sizes, *arguments, **options):
        return SimpleNamespace(scheme=plain_product.SCHEME, transposed_times=lambda *vector: self._left.pop(0))


def uniform_shares(side):
    shape = (3, 4) if side == "active" else (4, 3)
    draw = np.random.default_rng()
    return [draw.integers(0, 2**sums.bits, shape, dtype=np.uint64) for sums, _ in OPENED]


@SIDES
def test_a_side_hears_what_its_simulator_makes(side):
    run = overheard(side)
    shares = uniform_shares(side)
    simulated = [run.heard[0], *simulate(declared_output(run, side), shares)]
    role, own = (active, A) if side == "active" else (passive, B)
    found, peer = replay(lambda peer: role(peer, table(own), requests_to(side), engine=Dealt(shares, side)), simulated)
    ours = [message for message in run.heard if isinstance(message, ColumnsOffered | UpperShares)]
    assert sizes(simulated) == sizes(ours)
    assert sizes(peer.said) == sizes(kinds(run.said, ColumnsOffered))
    assert found.correlation.tolist() == run.result.correlation.tolist()
    assert found.joint_missing.tolist() == run.result.joint_missing.tolist()
    assert found.explained == pytest.approx(run.result.explained, abs=1e-5)
    assert found.vif == pytest.approx(run.result.vif, rel=1.1e-2)


def upper_parts(side, source):
    """Upper bits as parts of their range, over repeated runs on the same input, for each request."""
    runs = []
    for _ in range(20):
        if source == "simulated":
            shares = uniform_shares(side)
            messages = simulate(declared_output(once(side), side), shares)
        else:
            options = {"random": bytes} if source == "unmasked" else {}
            messages = kinds(overheard(side, **options).heard, UpperShares)
        runs.append([message.values.ravel() for message in messages])
    ranges = [2.0 ** (sums.bits - dropped_bits(sums.one, digits)) for sums, digits in OPENED]
    return [np.concatenate([run[k] for run in runs]) / ranges[k] for k in range(3)]


@lru_cache
def once(side):
    return overheard(side)


def uniform(parts):
    return scipy.stats.kstest(parts, "uniform").pvalue > CONFIDENCE


@SIDES
@pytest.mark.parametrize("source", ["real", "simulated"])
def test_upper_bits_are_uniform_really_and_simulated(side, source):
    assert all(uniform(parts) for parts in upper_parts(side, source))


def test_without_masks_upper_bits_are_the_sums():
    """The passive party, which multiplies, masks with zeros: its share is 0, and the active party opens the sum."""
    assert not any(uniform(parts) for parts in upper_parts("passive", "unmasked"))


@pytest.mark.parametrize("to", ["active", "passive", "both"])
@pytest.mark.parametrize("kind", ["correlation", "missing", "vif"])
def test_only_who_is_named_is_sent_anything(kind, to):
    talk = overhear(*roles(A, B, [Request(kind, to)]))
    for found, peer, side in ((talk.left, talk.left_peer, "active"), (talk.right, talk.right_peer, "passive")):
        named = to in (side, "both")
        assert len(kinds(peer.heard, UpperShares)) == named
        opened = {"correlation": found.correlation, "missing": found.joint_missing, "vif": found.vif}
        assert [name for name, value in opened.items() if value is not None] == [kind] * named
        assert (found.explained is not None) == (kind == "vif" and named)


def test_the_transcripts_shape_follows_from_public_sizes_whatever_the_values():
    shapes = []
    for a, b in ((A, B), (A * 0, B * NAN), (np.repeat(A[:, :1], 3, axis=1), np.repeat(A[:, :1], 4, axis=1))):
        shapes.append(overhear(*roles(a, b)).left_peer.transcript)
    assert shapes[0] == shapes[1] == shapes[2]
    counts = Counter(frame.kind for frame in shapes[0])
    assert counts == {"ColumnsOffered": 2, "PlainNumbers": 12, "PlainShare": 12, "UpperShares": 6}


# The Haar matrix: K' tells its Gram matrix and nothing more


TURNS = 400
DRAWN = np.random.default_rng(9)
PLAIN_A = standardised(DRAWN.normal(size=(60, 2)))
PLAIN_B = standardised(PLAIN_A @ DRAWN.normal(size=(2, 3)) + DRAWN.normal(size=(60, 3)))


def turned(b, spin=spun):
    """What A is shown, over repeated runs: (runs, 2, columns of b)."""
    white = whitened(standardised(b))
    return np.stack([PLAIN_A.T @ spin(white) / len(b) for _ in range(TURNS)])


def statistics(k):
    """Some numbers of each K': entries, one after a fixed turn, a determinant, an order."""
    fixed = np.linalg.qr(np.arange(9.0).reshape(3, 3) + np.eye(3))[0]
    return [
        k[:, 0, 0],
        k[:, 1, 2],
        (k @ fixed)[:, 1, 1],
        k[:, 0, 0] * k[:, 1, 1] - k[:, 0, 1] * k[:, 1, 0],
        k.max(axis=(1, 2)),
    ]


def alike(one, two):
    pairs = zip(statistics(one), statistics(two), strict=True)
    return all(scipy.stats.ks_2samp(x, y).pvalue > CONFIDENCE for x, y in pairs)


def simulated_turns(gram):
    root = np.hstack([np.linalg.cholesky(gram), np.zeros((2, 1))])
    return np.stack([spun(root) for _ in range(TURNS)])


def test_k_is_any_root_of_its_gram_matrix_times_a_haar_matrix():
    real = turned(PLAIN_B)
    gram = real[0] @ real[0].T
    assert np.abs(real @ real.transpose(0, 2, 1) - gram).max() < 1e-12
    assert alike(real, simulated_turns(gram))
    # The direction of a uniform vector in three dimensions has a uniform coordinate (Archimedes).
    direction = real[:, 0, :] / np.linalg.norm(real[:, 0, :], axis=1, keepdims=True)
    for coordinate in direction.T:
        assert scipy.stats.kstest((coordinate + 1) / 2, "uniform").pvalue > CONFIDENCE


def test_without_the_haar_matrix_k_is_told_apart():
    real = turned(PLAIN_B, spin=lambda white: white)
    assert not alike(real, simulated_turns(real[0] @ real[0].T))


def test_tables_that_span_the_same_are_not_told_apart():
    other = PLAIN_B @ np.array([[2.0, 1, 0], [0, 1, 5], [0, 0, 1]])
    assert np.abs(np.corrcoef(other.T) - np.corrcoef(PLAIN_B.T)).max() > 0.3
    first, second = turned(PLAIN_B)[0], turned(other)[0]
    assert second @ second.T == pytest.approx(first @ first.T)
    assert alike(turned(other), turned(PLAIN_B))


def test_the_rank_of_a_table_is_not_told():
    """Two columns and their sum: rank 2 in three columns, as if the third added nothing to what is explained."""
    two = PLAIN_B[:, :2]
    real = turned(np.hstack([two, two.sum(axis=1, keepdims=True)]))
    assert (real != 0).all()
    assert alike(real, simulated_turns(real[0] @ real[0].T))


def test_the_matrix_is_orthogonal_and_drawn_anew():
    one, two = spun(np.eye(5)), spun(np.eye(5))
    assert one @ one.T == pytest.approx(np.eye(5), abs=1e-12)
    assert np.abs(one - two).max() > 1e-3
    assert np.array_equal(
        spun(np.eye(2), lambda count: bytes(range(count))), spun(np.eye(2), lambda n: bytes(range(n)))
    )


def test_the_opened_k_is_rounded_coarser_than_its_own_error(converse):
    """The Gram matrix that A has is K K^T within 1e-6 in every run: Q_B O's rounding shows in nothing else."""
    found = [converse(*roles(PLAIN_A, PLAIN_B, [Request("vif", "active")])).left.explained for _ in range(5)]
    k = PLAIN_A.T @ whitened(PLAIN_B) / 60
    assert max(np.abs(one - k @ k.T).max() for one in found) < 2e-6


# Printing, and suggestions


def made(correlation, across=None, missing=None, explained=None, side="active"):
    """A description made up."""
    correlation = np.array(correlation, dtype=float)
    count = len(correlation)
    facts = OwnFacts(np.array(missing or [0.0] * count), np.zeros(count), np.ones(count), correlation)
    across = None if across is None else np.array(across, dtype=float)
    peers = 0 if across is None else across.shape[1]
    names = tuple("abcdef"[:count])
    return Description(side, 100, names, peers, facts, across, None, explained, None, (4, 4), (), ())


CLOSE = [[1, 0.95, 0], [0.95, 1, 0.1], [0, 0.1, 1]]


def test_a_description_prints_as_tables_with_what_is_own_apart(converse):
    own, theirs = related(100, 2, 13)
    found = converse(*roles(own, theirs)).left
    text = str(found)
    opened, _, alone = text.partition("Known to this party alone")
    assert "#13" in opened and "a0" in opened and "b0" not in text
    assert "deviation" in alone and "#1" not in alone
    assert f"{found.correlation[1, 12]:.4f}" in opened
    assert max(map(len, text.splitlines()[len(found.disclosures) + 1 :])) < 120
    assert repr(found) == "Description(active, 2 own columns, 13 of the peer's)"


def test_missing_and_constant_columns_go_first():
    found = suggest_columns(made(np.diag([1, 0, 1]), missing=[0.2, 0, 0.97]))
    assert found.keep == ("a",)
    assert {one.name: one.reason for one in found.dropped} == {
        "b": "it has one value only",
        "c": "missing for 97.0% of the people",
    }
    assert "Leave out b: it has one value only." in str(found)


def test_of_correlated_columns_the_one_with_more_information_stays():
    assert suggest_columns(made(CLOSE)).keep == ("a", "c")
    found = suggest_columns(made(CLOSE), information={"a": 0.1, "b": 0.2})
    assert found.keep == ("b", "c")
    assert found.dropped[0].reason == "correlation 0.95 with 'b'"
    assert suggest_columns(made(CLOSE), most_correlation=0.96, most_vif=100).keep == ("a", "b", "c")


def test_both_parties_suggest_the_same_for_a_pair_of_theirs():
    across = [[0.0, -0.93]]
    left = suggest_columns(made([[1]], across))
    right = suggest_columns(made(np.eye(2), np.transpose(across), side="passive"))
    assert left.keep == ("a",) and left.peer_dropped == (2,)
    assert right.keep == ("a",) and right.dropped[0].reason == "correlation -0.93 with column #1 of the peer"
    left = suggest_columns(made([[1]], across), information={"a": 0.1}, peer_information=[0, 0.2])
    right = suggest_columns(
        made(np.eye(2), np.transpose(across), side="passive"), information={"b": 0.2}, peer_information=[0.1]
    )
    assert left.keep == () and right.keep == ("a", "b") and right.peer_dropped == (1,)


def test_inflated_columns_go_one_after_the_other(converse):
    """c = a + b + a little: without it the others stand alone. d is the peer's column nearly."""
    draw = np.random.default_rng(1)
    x, theirs = draw.normal(size=(500, 2)), draw.normal(size=(500, 1))
    own = np.hstack(
        [x, x.sum(axis=1, keepdims=True) + 0.05 * draw.normal(size=(500, 1)), theirs + 0.2 * draw.normal(size=(500, 1))]
    )
    found = converse(*roles(own, theirs, [Request("vif")])).left
    suggestion = suggest_columns(found)
    assert [one.name for one in suggestion.dropped] == ["a2", "a3"]
    assert suggestion.dropped[0].reason.startswith("variance inflation factor ")
    kept = own[:, :2]
    assert joined_vif(kept, theirs).max() < 10 < joined_vif(own[:, [0, 1, 3]], theirs).max()
    assert suggest_columns(dataclasses.replace(found, explained=None)).keep == ("a0", "a1", "a3")


def test_the_later_of_two_equal_columns_goes():
    twice = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert suggest_columns(made(twice), most_correlation=1).keep == ("a", "b")
    assert variance_inflation(np.array(twice, float), np.zeros((3, 3))).tolist() == [np.inf, 1, np.inf]


def test_suggestions_use_nothing_that_was_not_opened():
    """Neither the peer's correlations nor the table: the description alone is at hand, and None stays unknown."""
    found = suggest_columns(dataclasses.replace(made([[1]], [[1.0]]), correlation=None))
    assert found.keep == ("a",) and found.peer_dropped == ()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"most_missing": 1.5}, "from 0 to 1"),
        ({"most_correlation": -1}, "from 0 to 1"),
        ({"most_vif": 0.5}, "1 at least"),
        ({"information": {"z": 1}}, "name 'z', which is no column"),
        ({"peer_information": [1.0]}, "describes 0 columns, found 1"),
    ],
)
def test_limits_and_values_that_do_not_fit_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        suggest_columns(made([[1]]), **options)


def test_roles_take_the_private_engine_unless_told_otherwise():
    for role in (active, passive):
        assert role.__kwdefaults__["engine"] is description.private_product
