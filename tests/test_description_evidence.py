"""Information values and weights of evidence in a description: worked example, equality with `bin_counts.evidence` on
the joined data, what follows from WOE, refusals, bad peers, simulators, suggestions. What is private in it has more
tests in `test_private_woe.py`."""

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest
from dealer import DealtReceiver, DealtSender
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes
from scipy.optimize import brentq
from test_oblivious_transfer import Blank, Known, uniform

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.models.bin_counts import evidence
from fedbank.models.binning import Binner
from fedbank.models.described import suggest_columns
from fedbank.models.description import Request, active, disclosures, passive
from fedbank.models.description_evidence import BinsOffered
from fedbank.models.description_requests import Extent
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables
from fedbank.protocols.share_arithmetic import OpenedNumbers
from fedbank.talk.codec import encode

NAN = np.nan
IV, WOE = Request("iv"), Request("woe", "passive")
SEED = 31


def table(features, labels=None, prefix="a"):
    """As much of a table as a description looks at."""
    features = np.asarray(features, dtype=np.float64)
    names = tuple(f"{prefix}{j}" for j in range(features.shape[1]))
    return SimpleNamespace(features=features, names=names, labels=labels)


def left_role(a, y, requests=(IV, WOE), *, source=DealtSender, **options):
    options = {"cells_per_number": 0, "engine": plain_product, **options}
    return lambda peer: active(peer, table(a, y), requests, source=source and source(SEED), **options)


def right_role(b, requests=(IV, WOE), *, source=DealtReceiver, **options):
    """Masks of its products are always the same, so that a replay ends as the first run did."""
    options = {"cells_per_number": 0, "engine": plain_product, **options}

    def role(peer):
        random = np.random.default_rng(SEED).bytes if source else os.urandom
        return passive(peer, table(b, prefix="b"), requests, source=source and source(SEED), random=random, **options)

    return role


def exact(features, labels, binner=None):
    """WOE and IV of each column as `bin_counts` has them, from cells and labels in one place."""
    bins = (binner or Binner(bins=10)).fit(features).bins_
    return [evidence(counts) for counts in bins.counts(bins.transform(features), labels)]


def some(people, columns, seed=0, missing=0.1):
    draw = np.random.default_rng(seed)
    x = draw.normal(3, 2, (people, columns))
    x[draw.random(x.shape) < missing] = NAN
    return x


def case(people=300, a=2, b=3, seed=1):
    """Two tables, and labels that depend on a column of each."""
    own, theirs = some(people, a, seed), some(people, b, seed + 1)
    risk = np.nan_to_num(own[:, 0]) - np.nan_to_num(theirs[:, 0]) + np.random.default_rng(seed).normal(0, 2, people)
    return own, theirs, (risk > 1).astype(float)


# Worked example: the two bins of docs/protocols/woe.md, at the bank

FLAG = np.repeat([0.0, 1.0], [90, 30])[:, None]
BAD = np.repeat([0.0, 1, 0, 1], [80, 10, 20, 10])


def test_two_bins(converse):
    """ln(80.5 / 101) - ln(10.5 / 21) = 0.4663, and for the second bin -0.9015; nobody's cell is missing."""
    talk = converse(left_role(FLAG * 2, BAD), right_role(FLAG))
    assert talk.left.information.round(4).tolist() == talk.left.peer_information.round(4).tolist() == [0.4063]
    assert talk.right.information.round(4).tolist() == [0.4063]
    (column,) = talk.right.woe
    assert column.name == "b0" and column.bins[-1] == "missing"
    assert column.rows.tolist() == [90, 30, 0]
    assert column.woe == pytest.approx([0.4663, -0.9015, 0], abs=1e-4)
    assert talk.left.woe == () and talk.right.peer_information is None
    left, right = str(talk.left).split("Known to this party alone"), str(talk.right).split("Known to this party alone")
    assert "Information values of the peer's columns\n          IV\n  #1  0.4063" in left[0] and "IV" in left[1]
    assert (
        "Weights of evidence of b0" in right[0]
        and "missing             0   0.0000" in right[0]
        and "IV" not in right[1]
    )


# Equality with the joined data


@st.composite
def cases(draw):
    people, a, b = draw(st.integers(2, 12)), draw(st.integers(0, 3)), draw(st.integers(0, 3))
    cells = st.sampled_from([NAN, 0.0, 1.0, 2.0, -5.0, 1e308, 1e-300])
    columns = [draw(st.lists(cells, min_size=people, max_size=people)) for _ in range(a + b)]
    labels = draw(
        st.permutations([0.0, 1.0, *draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=people - 2))[: people - 2]])
    )
    x = np.array(columns, dtype=float).reshape(a + b, people)
    return x[:a].T[: len(labels)], x[a:].T[: len(labels)], np.array(labels)


@settings(max_examples=15)
@given(given_case=cases())
def test_equals_the_joined_data_whatever_it_holds(given_case, converse):
    agree(given_case, converse(left_role(given_case[0], given_case[2]), right_role(given_case[1])))


def agree(given_case, talk):
    """What the docstring of `private_woe` states, and 2^-16 more for what is opened."""
    own, theirs, labels = given_case
    expected = exact(theirs, labels) if theirs.shape[1] else []
    most = max([np.abs(one.woe).max() for one in expected], default=0)
    values = np.array([one.total_iv for one in expected])
    for found in (talk.left.peer_information, talk.right.information):
        assert found.shape == values.shape
        assert np.abs(found - values).max(initial=0) <= 2**-16 + 2**-19 * (1 + most)
        assert (found >= 0).all()
    assert talk.left.information.tolist() == [one.total_iv for one in (exact(own, labels) if own.shape[1] else [])]
    assert [column.name for column in talk.right.woe] == [f"b{j}" for j in range(theirs.shape[1])]
    for column, one in zip(talk.right.woe, expected, strict=True):
        assert np.abs(column.woe - one.woe).max() <= 2**-16 + 2**-20
        assert column.rows.sum() == len(labels) and len(column.bins) == len(column.woe)


def test_equals_the_joined_data_over_private_products_and_silent_correlations(converse):
    given_case = case()
    every = [Request("correlation"), Request("missing"), Request("vif"), IV, WOE]
    how = {"engine": private_product, "source": None}
    talk = converse(left_role(given_case[0], given_case[2], every, **how), right_role(given_case[1], every, **how))
    agree(given_case, talk)
    assert len(talk.left.schemes) >= 2 and all(scheme.security_bits >= 128 for scheme in talk.right.schemes)
    assert talk.left.vif is not None and talk.right.joint_missing is not None


def test_each_owner_makes_its_own_bins(converse):
    own, theirs, labels = case()
    binners = Binner(merge="chi"), Binner("width", bins=4)
    talk = converse(left_role(own, labels, binner=binners[0]), right_role(theirs, binner=binners[1]))
    merged = binners[0].fit(own, labels).bins_
    assert talk.left.information.tolist() == [
        evidence(counts).total_iv for counts in merged.counts(merged.transform(own), labels)
    ]
    values = [one.total_iv for one in exact(theirs, labels, binners[1])]
    assert talk.left.peer_information == pytest.approx(values, abs=2**-15)
    assert len(talk.right.woe[0].woe) == 5


def test_only_named_columns_are_opened_in_the_order_named(converse):
    own, theirs, labels = case()
    requests = [Request("woe", "passive", columns=(3, 1))]
    talk = converse(left_role(own, labels, requests), right_role(theirs, requests))
    assert [column.name for column in talk.right.woe] == ["b2", "b0"]
    expected = exact(theirs, labels)
    assert talk.right.woe[0].woe == pytest.approx(expected[2].woe, abs=2**-15)
    assert talk.left.information is not None and talk.left.peer_information is None and talk.right.information is None


# What follows from weights of evidence


@pytest.mark.parametrize("seed", range(3))
def test_weights_of_evidence_and_own_rows_give_the_bads_of_each_bin(seed, converse):
    """The sentence is true: the passive party is told no base rate, and finds it."""
    own, theirs, labels = case(500, 1, 1, seed)
    (column,) = converse(left_role(own, labels, [WOE]), right_role(theirs, [WOE])).right.woe
    rows, woe = column.rows[column.rows > 0], column.woe[column.rows > 0]
    part, odds = (rows + 1) / (rows.sum() + len(rows)), np.exp(woe)
    t = brentq(lambda t: (part / (1 + t * (odds - 1))).sum() - 1, 1e-4, 1)
    found = (rows + 1) / (1 + t / (1 - t) * odds) - 0.5
    codes = Binner(bins=10).fit_transform(theirs)[:, 0]
    bads = np.bincount(codes, weights=labels)
    assert np.round(found).tolist() == bads[bads + np.bincount(codes) > 0].tolist()


# Requests, sentences, refusals


def test_sentences_say_who_learns_how_many_numbers():
    requests = [Request("woe", "passive", columns=(2,)), IV]
    assert disclosures(requests, Extent(1000, 4, 3, (11, 3, 11))) == (
        "Both parties learn how many columns the other one describes (4 and 3), and nothing else but what follows.",
        "The active party learns how many bins each of the passive party's columns has (25 in all).",
        "The active party learns 3 numbers: the information value of each of the passive party's 3 columns, by number, "
        "to 16 binary digits.",
        "The passive party learns 3 numbers: the information value of each of its 3 columns, to 16 binary digits. With "
        "the share of bads, that of a column whose people are in two bins leaves one or two numbers of bads in each.",
        "The passive party learns 3 numbers: the weights of evidence of the bins of its column #2, to 16 binary "
        "digits. With the people in its bins, which it knows, they give the share of bads and the number of bads in "
        "each bin.",
    )
    assert "all of its columns" in disclosures([WOE], Extent(9, 1, 2, (2, 2)))[-1]


def test_sentences_before_the_parties_have_met_hold_no_figure_of_theirs():
    every = [Request("correlation"), Request("missing", "active", 2), Request("vif", "passive"), IV, WOE]
    said = disclosures(every)
    extent = Extent(100_000, 3, 5, (11,) * 5)
    assert len(said) == len(disclosures(every, extent))
    assert said[0] == "Both parties learn how many columns the other one describes, and nothing else but what follows."
    assert said[2] == (
        "The active party learns the correlation of each of its columns with each of the passive party's, by number, "
        "to 4 digits."
    )
    assert "to 2 digits, below 800 people as an exact count" in said[4]
    for people, exactly in ((799, True), (800, False)):
        assert ("exact count" in disclosures([every[1]], Extent(people, 3, 5))[-1]) is exactly
    assert "can compute all, or a part, of the correlations" in said[-1]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (("woe", "both"), "to 'passive' alone, who has the bins; found 'both'"),
        (("woe", "active"), "to 'passive' alone"),
        (("iv", "both", 4, (1,)), "opens 'iv' of all columns"),
        (("woe", "passive", 4, (1, 1)), r"once each, by numbers from 1; found \[1, 1\]"),
        (("woe", "passive", 4, (0,)), "by numbers from 1"),
    ],
)
def test_a_request_that_is_none_is_refused(bad, sentence):
    with pytest.raises(UsageError, match=sentence):
        Request(*bad)


def test_what_cannot_be_described_is_refused_and_nothing_is_sent(saying):
    peer = saying([])
    x = some(20, 2)
    for role, sentence in (
        (left_role(x, None), "need labels, and the active party's table has none"),
        (left_role(x, np.zeros(20)), "both must occur"),
        (right_role(x, binner=Binner(merge="chi")), "has no labels to merge bins by"),
        (right_role(some(500, 20, missing=0), binner=Binner(bins=300)), "4096 bins of all columns at most; found 6020"),
    ):
        with pytest.raises(UsageError, match=sentence):
            role(peer)
    assert peer.transcript == []


@pytest.mark.parametrize("role", ["active", "passive"])
def test_too_few_labels_behind_the_numbers_are_refused_by_both(role, good, saying):
    """Three IVs and 33 WOE of 300 people: 36 x 10 > 300."""
    peer = saying(good[role])
    with pytest.raises(UsageError, match="36 numbers about 300 labels to the passive party; below 10 labels a number"):
        (left_role(A, Y, cells_per_number=10) if role == "active" else right_role(B, cells_per_number=10))(peer)
    assert not kinds(good[role][2:], BinsOffered)


def test_a_column_that_is_not_there_is_refused(converse):
    with pytest.raises(UsageError, match="name column #4, the passive party describes 3"):
        Request("woe", "passive", columns=(4,)).places(3)
    with pytest.raises(UsageError, match="name column #4, the passive party describes 3"):
        requests = [Request("woe", "passive", columns=(4,))]
        converse(left_role(A, Y, requests), right_role(B, requests))


def test_the_sentences_are_told_before_anything_is_opened(saying):
    class Refused(Exception):
        pass

    def refuse(said):
        told.append(said)
        raise Refused

    told = []
    for role in (left_role(A, Y, tell=refuse), right_role(B, tell=refuse)):
        peer = saying([*GREETED[len(told)]])
        with pytest.raises(Refused):
            role(peer)
        assert {frame.kind for frame in peer.transcript} <= {"ColumnsOffered", "BinsOffered"}
    assert told[0] == told[1] == disclosures([IV, WOE], Extent(300, 2, 3, (11, 11, 11)))


# A bad peer at every receive. What lies between bins and openings is held in `test_private_woe.py`.

A, B, Y = case()


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    talk = overhear(left_role(A, Y), right_role(B))
    return {"active": talk.left_peer.heard, "passive": talk.right_peer.heard}


@pytest.fixture(scope="module", autouse=True)
def _greeted(good):
    GREETED[:] = good["active"][:2], good["passive"][:1]


GREETED = []
ROLES = {"active": left_role(A, Y), "passive": right_role(B)}


@pytest.mark.parametrize("role", ["active", "passive"])
def test_a_good_peer_is_answered(role, good, saying):
    openings = kinds(good[role], OpenedNumbers)
    assert len(openings) == (1 if role == "active" else 2)
    assert good[role][-len(openings) :] == openings
    found = ROLES[role](saying(good[role]))
    assert (found.peer_information if role == "active" else found.information).shape == (3,)


@pytest.mark.parametrize(("role", "at"), [("active", 1), ("active", -1), ("passive", -1), ("passive", -2)])
def test_a_spoilt_frame_is_refused(role, at, good, saying, spoil):
    place = at % len(good[role])
    kind = type(good[role][place]).__name__
    with pytest.raises(PeerError, match=rf"Frame {place + 1} from bank.*{kind}"):
        ROLES[role](saying([*good[role][:place], spoil(encode(good[role][place]))]))


@pytest.mark.parametrize("role", ["active", "passive"])
def test_a_frame_cut_short_is_refused(role, good, saying):
    """At the first twelve, then at every fifth: `test_private_woe.py` has all those between."""
    places = [*range(12), *range(12, len(good[role]), 5)]
    for at in places:
        message = good[role][at]
        with pytest.raises(PeerError, match=rf"Frame {at + 1} from bank.*{type(message).__name__}"):
            ROLES[role](saying([*good[role][:at], encode(message)[:-1]]))


@pytest.mark.parametrize("role", ["active", "passive"])
def test_a_wrong_count_of_opened_numbers_is_refused(role, good, saying):
    *before, last = good[role]
    for values in (last.values[:-1], last.values[:0], np.append(last.values, 1), last.values[None]):
        with pytest.raises(PeerError, match=rf"Frame {len(before) + 1} from bank.*OpenedNumbers"):
            ROLES[role](saying([*before, OpenedNumbers(values)]))


@pytest.mark.parametrize("widths", [[11, 11], [11, 11, 11, 11], [0, 11, 11], [-1, 11, 11], [4095, 1, 1], [2**62] * 3])
def test_other_bins_than_columns_can_have_are_refused(widths, good, saying):
    with pytest.raises(PeerError, match="bank"):
        ROLES["active"](saying([good["active"][0], BinsOffered(np.array(widths)), *good["active"][2:]]))


def test_the_bytes_of_its_message():
    assert (
        encode(BinsOffered(np.array([11, 3]))).hex()[16:]
        == "01020000000000000" + "00b00000000000000" + "0300000000000000"
    )
    assert repr(BinsOffered(np.array([77]))) == "BinsOffered(widths: int64[1])"


# Who learns what. A receiver meets a peer that runs on an input the simulator has made up, of the same public sizes;
# what is opened at last is made from the declared output.

MADE_UP_B, MADE_UP_Y = some(300, 3, seed=77), np.random.default_rng(7).permutation(Y)


@pytest.mark.parametrize("to", ["active", "passive", "both"])
def test_only_who_is_named_is_sent_an_opening(to):
    requests = [Request("iv", to)]
    talk = overhear(left_role(A, Y, requests), right_role(B, requests))
    for peer, side in ((talk.left_peer, "active"), (talk.right_peer, "passive")):
        assert len(kinds(peer.heard, OpenedNumbers)) == (to in (side, "both"))
    assert (talk.left.peer_information is not None) == (to != "passive")
    assert (talk.right.information is not None) == (to != "active")
    assert talk.left.information is not None


def opening(made_up, declared, reached):
    """An opening by a simulated peer, moved so that the receiver reaches what was declared instead."""
    units = np.round((np.asarray(declared) - np.asarray(reached)) * 2**16).astype(np.int64)
    return OpenedNumbers((made_up.values + units) & (2**56 - 1))


def test_the_active_party_hears_what_its_simulator_makes(good):
    requests = [Request("iv", "active")]
    real = overhear(left_role(A, Y, requests), right_role(B, requests))
    made_up = overhear(left_role(A, Y, requests), right_role(MADE_UP_B, requests))
    declared = np.array([one.total_iv for one in exact(B, Y)])
    reached = made_up.left.peer_information
    assert np.abs(reached - declared).max() > 0.1 and reached.min() > 0
    *before, last = made_up.left_peer.heard
    simulated = [*before, opening(last, declared, reached)]
    assert sizes(simulated) == sizes(real.left_peer.heard)
    found, peer = replay(left_role(A, Y, requests), simulated)
    assert sizes(peer.said) == sizes(real.left_peer.said)
    assert np.abs(found.peer_information - declared).max() <= 2**-16
    assert found.information.tolist() == real.left.information.tolist()


def test_the_passive_party_hears_what_its_simulator_makes():
    real = overhear(left_role(A, Y), right_role(B))
    made_up = overhear(left_role(A, MADE_UP_Y), right_role(B))
    declared = exact(B, Y)
    *before, values, weights = made_up.right_peer.heard
    found = made_up.right
    assert found.information.min() > 0
    simulated = [
        *before,
        opening(values, [one.total_iv for one in declared], found.information),
        opening(weights, np.concatenate([one.woe for one in declared]), np.concatenate([one.woe for one in found.woe])),
    ]
    assert sizes(simulated) == sizes(real.right_peer.heard)
    found, peer = replay(right_role(B), simulated)
    assert sizes(peer.said) == sizes(real.right_peer.said)
    assert np.abs(found.information - [one.total_iv for one in declared]).max() <= 2**-16
    for column, one in zip(found.woe, declared, strict=True):
        assert np.abs(column.woe - one.woe).max() <= 2**-16


def heard_by(side, a, y, b, left=DealtSender, right=DealtReceiver):
    """The masked bytes that a side hears."""
    talk = overhear(left_role(a, y, source=left), right_role(b, source=right))
    kind, peer = (MaskedChoices, talk.left_peer) if side == "active" else (MaskedTables, talk.right_peer)
    values = np.concatenate([message.values[:-1] for message in kinds(peer.heard, kind)])
    return (_native.unpack_bits(values, 8 * len(values), 1), 2) if side == "active" else (values, 256)


@pytest.mark.parametrize("theirs", [B, MADE_UP_B], ids=["real", "simulated"])
def test_what_the_active_party_hears_is_uniform(theirs):
    assert uniform(*heard_by("active", A, Y, theirs))


@pytest.mark.parametrize("labels", [Y, MADE_UP_Y], ids=["real", "simulated"])
def test_what_the_passive_party_hears_is_uniform(labels):
    assert uniform(*heard_by("passive", A, labels, B))


def test_without_the_masks_it_is_not():
    assert not uniform(*heard_by("active", A, Y, B, Known, Blank))


def test_the_transcripts_shape_follows_from_public_sizes_whatever_the_values():
    one = overhear(left_role(A, Y), right_role(B))
    other = overhear(left_role(A * 0, MADE_UP_Y), right_role(MADE_UP_B))
    assert one.left_peer.transcript == other.left_peer.transcript


# Suggestions use what was opened


def test_of_correlated_columns_the_one_with_more_information_stays(converse):
    """Twins at both parties, the regulator's with more noise: its own goes once it knows both IVs."""
    draw = np.random.default_rng(2)
    y = (draw.random(2000) < 0.4).astype(float)
    near, far = y + draw.normal(0, 0.3, 2000), draw.normal(0, 1, 2000)
    requests = [Request("correlation"), Request("iv")]
    own, theirs = np.column_stack([near + draw.normal(0, 0.1, 2000), far]), near[:, None]
    talk = converse(left_role(own, y, requests), right_role(theirs, requests))
    assert talk.left.peer_information[0] > talk.left.information[0] > 1
    found = suggest_columns(talk.left)
    assert found.keep == ("a1",) and found.dropped[0].reason == "correlation 0.99 with column #1 of the peer"
    assert suggest_columns(dataclasses.replace(talk.left, peer_information=None)).peer_dropped == (1,)
    assert suggest_columns(talk.left, peer_information=[0.0]).keep == ("a0", "a1")
    found = suggest_columns(talk.left, least_information=0.1)
    assert [one.reason for one in found.dropped if one.name == "a1"] == [
        f"information value {talk.left.information[1]:.4f}"
    ]
    assert suggest_columns(talk.right, least_information=0.1).keep == ("b0",)


def test_an_information_value_that_is_unknown_drops_nothing(converse):
    own, theirs, labels = case()
    requests = [Request("iv", "active")]
    talk = converse(left_role(own, labels, requests), right_role(theirs, requests))
    assert talk.right.information is None
    assert suggest_columns(talk.right, least_information=5).keep == ("b0", "b1", "b2")
    assert suggest_columns(talk.left, least_information=5).keep == ()
    with pytest.raises(UsageError, match="information values 0 at least"):
        suggest_columns(talk.left, least_information=-1)
