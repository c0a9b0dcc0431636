"""WOE as shares: worked example, equality with `bin_counts.evidence`, edges, bad peers, openings, simulators."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from dealer import DealtReceiver, DealtSender
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import kinds, overhear, replay, sizes
from test_oblivious_transfer import Blank, Known, uniform

from fedbank import _native
from fedbank.errors import PeerError, UsageError
from fedbank.models.bin_counts import evidence
from fedbank.models.column_bins import one_hot
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables, Receiver, Sender
from fedbank.protocols.private_woe import (
    FLOOR,
    Columns,
    WoeShares,
    active,
    active_iv,
    give_woe,
    learn_woe,
    passive,
    passive_iv,
    standardised,
)
from fedbank.protocols.share_arithmetic import OpenedNumbers, ReceiverSide, SenderSide, product
from fedbank.protocols.vole import SilentReceiver, SilentSender
from fedbank.talk.codec import encode

SEED = 23


def left_role(columns, labels, *, engine=plain_product, source=DealtSender, then=lambda peer, shares: shares):
    """A with correlations from a dealer; `then` goes on with its shares."""

    def role(peer):
        holder = engine.VectorHolder(peer, columns.sizes)
        ot = Sender(peer, source(SEED))
        shares = active(ot, holder, labels, columns)
        return SimpleNamespace(shares=shares, standard=standardised(SenderSide(ot), shares), then=then(peer, shares))

    return role


def right_role(columns, codes, *, engine=plain_product, source=DealtReceiver, then=lambda peer, shares: shares):
    """B, the masks of whose products are always the same, so that a replay ends as the first run did."""

    def role(peer):
        matrix = one_hot(codes, columns.widths).astype(np.int64)
        holder = engine.MatrixHolder(peer, matrix, columns.sizes, random=np.random.default_rng(SEED).bytes)
        ot = Receiver(peer, source(SEED))
        shares = passive(ot, holder, matrix.sum(axis=0), columns)
        return SimpleNamespace(shares=shares, standard=standardised(ReceiverSide(ot), shares), then=then(peer, shares))

    return role


def opened(left, right):
    return (left + right).view(np.int64) / 2.0**24


def exact(codes, labels, columns):
    """The same in plaintext."""
    found = [
        evidence(np.bincount(2 * column + labels, minlength=2 * width).reshape(-1, 2), columns.smoothing)
        for column, width in zip(codes.T, columns.widths, strict=True)
    ]
    woe, of = np.concatenate([one.woe for one in found]), columns.column
    share = one_hot(codes, columns.widths).mean(axis=0)
    mean = np.bincount(of, share * woe)
    variance = np.bincount(of, share * (woe - mean[of]) ** 2)
    scale = np.where(variance < FLOOR, 0, np.maximum(variance, FLOOR) ** -0.5)
    iv = np.array([one.total_iv for one in found])
    return SimpleNamespace(woe=woe, iv=iv, mean=mean, scale=scale, standard=(woe - mean[of]) * scale[of])


def agree(talk, codes, labels, columns):
    """Every result is within the error that the docstring states."""
    expected, left, right = exact(codes, labels, columns), talk.left.shares, talk.right.shares
    most = np.abs(expected.woe).max()
    assert np.abs(opened(left.woe, right.woe) - expected.woe).max() <= 2**-20
    assert np.abs(opened(left.iv, right.iv) - expected.iv).max() <= 2**-19 * (1 + most)
    assert np.abs(opened(left.mean, right.mean) - expected.mean).max() <= 2**-19
    scale, found = expected.scale, opened(left.scale, right.scale)
    relative = 2**-21 + 2**-18 * scale + 2**-30 * scale**2
    assert (np.abs(found - scale) <= np.where(scale > 0, scale * relative + 2**-23, 0)).all()
    standard, of = opened(talk.left.standard, talk.right.standard), columns.column
    error = np.abs(expected.standard) * (relative[of] + 2**-19) + 2**-18 * scale[of] + 2**-23
    assert (np.abs(standard - expected.standard) <= error).all()


# Worked example: 120 people, one column of two bins


def example():
    codes = np.repeat([0, 1], [90, 30])[:, None]
    labels = np.repeat([0, 1, 0, 1], [80, 10, 20, 10])
    return Columns(120, (2,)), codes, labels


def test_two_bins():
    """`evidence` says the same: ln(80.5 / 101) - ln(10.5 / 21) = 0.4663, and for the second bin -0.9015."""
    columns, codes, labels = example()
    talk = overhear(left_role(columns, labels), right_role(columns, codes))
    assert opened(talk.left.shares.woe, talk.right.shares.woe).round(4).tolist() == [0.4663, -0.9015]
    assert opened(talk.left.shares.iv, talk.right.shares.iv).round(4).tolist() == [0.4063]
    agree(talk, codes, labels, columns)


# Equality with the plaintext answer


def table(rows, widths, seed, smoothing=0.5, bits=0):
    """Bins of very different sizes, some without a row, that say more or less about the labels."""
    draw = np.random.default_rng(seed)
    codes = np.column_stack(
        [np.minimum(draw.geometric(draw.uniform(0.2, 0.9), rows) - 1, width - 1) for width in widths]
    )
    risk = codes @ draw.normal(0, 0.5, len(widths)) - 1
    labels = (draw.random(rows) < 1 / (1 + np.exp(-risk))).astype(int)
    return Columns(rows, tuple(widths), smoothing, bits), codes, labels


@settings(max_examples=15)
@given(
    rows=st.sampled_from([1, 2, 7, 300, 5000]),
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    smoothing=st.sampled_from([0.5, 1.0, 7.25]),
    seed=st.integers(0, 10**6),
)
def test_any_table(rows, widths, smoothing, seed):
    columns, codes, labels = table(rows, widths, seed, smoothing)
    talk = overhear(left_role(columns, labels), right_role(columns, codes))
    agree(talk, codes, labels, columns)


@pytest.mark.parametrize("label", [0, 1])
def test_people_who_are_all_alike(label):
    columns, codes, _ = table(200, [3, 5], 1)
    labels = np.full(200, label)
    agree(overhear(left_role(columns, labels), right_role(columns, codes)), codes, labels, columns)


def test_columns_that_say_nothing_or_everything():
    """One bin with all rows, among others without a row; a column that is the label; one that is a coin."""
    draw = np.random.default_rng(4)
    labels = draw.integers(0, 2, 4000)
    codes = np.column_stack([np.full(4000, 2), labels, draw.integers(0, 2, 4000), np.zeros(4000, int)])
    columns = Columns(4000, (4, 2, 3, 1))
    talk = overhear(left_role(columns, labels), right_role(columns, codes))
    agree(talk, codes, labels, columns)
    assert opened(talk.left.shares.scale, talk.right.shares.scale)[[0, 3]].tolist() == [0, 0]
    standard = opened(talk.left.standard, talk.right.standard)
    assert np.abs(standard[columns.column == 0]).max() <= 2**-24
    assert np.abs(standard[columns.column == 1]).min() > 0.9


def test_a_bin_without_a_row_is_exactly_nothing():
    columns, codes, labels = Columns(80, (4, 6)), 2 * CODES, LABELS
    talk = overhear(left_role(columns, labels), right_role(columns, codes))
    empty = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1], bool)
    agree(talk, codes, labels, columns)
    assert set(opened(talk.left.shares.woe, talk.right.shares.woe)[empty].tolist()) == {0}


@pytest.mark.parametrize("label", [0, 1])
def test_as_many_rows_as_there_may_be(label):
    """2^22 people, all but one alike in their bins or in their labels; the product itself is left out."""
    rows, counts = (
        np.array([2**22 - 1, 1, 2**21, 2**21]),
        np.array([[2**22 - 1, 0], [0, 1], [2**21, 0], [2**21 - 1, 1]]),
    )
    columns = Columns(2**22, (2, 2))
    bads = counts[:, 1] if label else counts[:, 0]
    labels = np.zeros(2**22, int)
    labels[0] = 1
    labels = labels if label else 1 - labels
    share = np.arange(4, dtype=np.uint64)
    talk = overhear(
        lambda peer: active(Sender(peer, DealtSender(1)), Ready(share), labels, columns),
        lambda peer: passive(
            Receiver(peer, DealtReceiver(1)),
            Ready((bads.astype(np.uint64) - share) % 2**columns.share_bits),
            rows,
            columns,
        ),
    )
    found = opened(talk.left.woe, talk.right.woe).reshape(2, 2)
    for one, at in zip(found, (0, 2), strict=True):
        goods = rows[at : at + 2] - bads[at : at + 2]
        expected = evidence(np.column_stack([goods, bads[at : at + 2]]))
        assert np.abs(one - expected.woe).max() <= 2**-20
        assert abs(opened(talk.left.iv, talk.right.iv)[at // 2] - expected.total_iv) <= 2**-19 * 17


class Ready:
    """An end of a private product that has been done."""

    def __init__(self, share):
        self.share = share

    def transposed_times(self, vector=None):
        return self.share


def test_over_private_products_and_silent_correlations():
    """All of it as it runs between two banks, and in a ring that the product shares with others."""
    columns, codes, labels = table(500, [4, 6, 3], 5, bits=44)
    silent = {"engine": private_product}
    talk = overhear(
        lambda peer: left_role(columns, labels, source=lambda _: SilentSender(peer, outputs=1 << 16), **silent)(peer),
        lambda peer: right_role(columns, codes, source=lambda _: SilentReceiver(peer, outputs=1 << 16), **silent)(peer),
    )
    agree(talk, codes, labels, columns)


def test_a_linear_predictor_from_shared_columns():
    """M (W c) as training will need it, with the ends of the product that made the counts."""
    columns, codes, labels = table(300, [4, 6], 9, bits=44)
    matrix, of, low = one_hot(codes, columns.widths).astype(np.int64), columns.column, np.uint64(2**44 - 1)
    coefficients = np.random.default_rng(1).integers(-(2**26), 2**26, 2)
    a = np.array([5, 2**64 - 1], np.uint64)
    b = coefficients.view(np.uint64) - a

    def left(peer):
        ot, holder = Sender(peer, DealtSender(SEED)), plain_product.VectorHolder(peer, columns.sizes)
        woe = active(ot, holder, labels, columns).woe
        return holder.times(product(SenderSide(ot), woe, a[of]) & low)

    def right(peer):
        ot, holder = Receiver(peer, DealtReceiver(SEED)), plain_product.MatrixHolder(peer, matrix, columns.sizes)
        woe = passive(ot, holder, matrix.sum(axis=0), columns).woe
        own = product(ReceiverSide(ot), woe, b[of]) & low
        return holder.times() + matrix.astype(np.uint64) @ own

    talk = overhear(left, right)
    found = ((talk.left + talk.right) << np.uint64(20)).view(np.int64) / 2.0**44
    expected = matrix @ (exact(codes, labels, columns).woe * coefficients[of] / 2.0**24)
    assert np.abs(found - expected).max() <= 2 * (4 * 2**-20 + 2**-24)


# Openings

SMALL, CODES, LABELS = table(80, [2, 3], 6)


@pytest.mark.parametrize("to", ["active", "passive", "both"])
def test_information_values_are_opened_to_those_who_are_named(to):
    talk = overhear(
        left_role(SMALL, LABELS, then=lambda peer, shares: active_iv(peer, shares, to)),
        right_role(SMALL, CODES, then=lambda peer, shares: passive_iv(peer, shares, to)),
    )
    for side, name in (("left", "active"), ("right", "passive")):
        found = getattr(talk, side).then
        heard = kinds(getattr(talk, side + "_peer").heard, OpenedNumbers)
        assert (found is not None) is (len(heard) == 1) is (to in (name, "both"))
        if found is not None:
            assert np.abs(found - exact(CODES, LABELS, SMALL).iv).max() <= 2**-16 + 2**-17


def test_woe_is_opened_to_its_owner_alone():
    talk = overhear(
        left_role(SMALL, LABELS, then=lambda peer, shares: give_woe(peer, shares, [1, 0])),
        right_role(SMALL, CODES, then=lambda peer, shares: learn_woe(peer, shares, [1, 0])),
    )
    woe = exact(CODES, LABELS, SMALL).woe
    assert [len(one) for one in talk.right.then] == [3, 2]
    assert np.abs(np.concatenate(talk.right.then) - np.concatenate([woe[2:], woe[:2]])).max() <= 2**-16 + 2**-20
    assert kinds(talk.left_peer.heard, OpenedNumbers) == []


def test_with_the_base_rate_it_is_the_bads_of_each_bin():
    """What the table names: B knows its rows, smoothing and the base rate, and finds the bads."""
    talk = overhear(
        left_role(SMALL, LABELS, then=lambda peer, shares: give_woe(peer, shares, [1])),
        right_role(SMALL, CODES, then=lambda peer, shares: learn_woe(peer, shares, [1])),
    )
    rows, bads = np.bincount(CODES[:, 1], minlength=3), np.bincount(CODES[:, 1], weights=LABELS, minlength=3)
    total, filled = LABELS.sum(), int((rows > 0).sum())
    odds = np.exp(talk.right.then[0]) * (80 - total + filled / 2) / (total + filled / 2)
    assert np.round(((rows + 0.5) - 0.5 * odds) / (1 + odds)).tolist() == bads.tolist()


def test_an_information_value_of_two_bins_says_nearly_as_much():
    """B tries every number of bads of its first bin: one or two fit what was opened."""
    talk = overhear(
        left_role(SMALL, LABELS, then=lambda peer, shares: active_iv(peer, shares, "passive")),
        right_role(SMALL, CODES, then=lambda peer, shares: passive_iv(peer, shares, "passive")),
    )
    rows, total = np.bincount(CODES[:, 0], minlength=2), int(LABELS.sum())
    fitting = []
    for bads in range(max(0, total - rows[1]), min(rows[0], total) + 1):
        both = np.array([bads, total - bads])
        if abs(evidence(np.column_stack([rows - both, both])).total_iv - talk.right.then[0]) < 2**-15:
            fitting.append(bads)
    assert LABELS[CODES[:, 0] == 0].sum() in fitting
    assert len(fitting) <= 2


def test_opened_numbers_have_sixteen_fractional_bits():
    shares = WoeShares(SMALL, *(np.array(one, np.uint64) for one in ([0] * 5, [1 << 23, 255], [0, 0], [0, 0])))
    rest = WoeShares(SMALL, *(np.zeros(count, np.uint64) for count in (5, 2, 2, 2)))
    talk = overhear(lambda peer: active_iv(peer, shares, "both"), lambda peer: passive_iv(peer, rest, "both"))
    assert (talk.left * 2**16).tolist() == (talk.right * 2**16).tolist() == [2**15, 1]


# What does not fit is the caller's mistake


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((0, (2,)), "1 to 4194304 rows"),
        ((2**22 + 1, (2,)), "1 to 4194304 rows"),
        ((10, ()), "columns of one bin"),
        ((10, (2, 0)), "columns of one bin"),
        ((10, (2,), 0.49), "0.5 or more"),
        ((10, (2,), float("nan")), "0.5 or more"),
        ((10, (2,), 2.0**21), "less than 2\\^22"),
        ((10, (2,), 0.5, 5), "shares of 6 bits, not 5"),
    ],
)
def test_sizes_that_do_not_fit(given, words):
    with pytest.raises(UsageError, match=words):
        Columns(*given)


def test_labels_and_rows_that_do_not_fit(saying):
    peer = saying([])
    for labels in (np.zeros(79), np.full(80, 2), np.zeros((80, 1)), np.full(80, np.nan)):
        with pytest.raises(UsageError, match="0 or 1 for each of 80 rows"):
            active(Sender(peer, DealtSender(1)), Ready(None), labels, SMALL)
    for rows in ([40, 40, 80, 0, 1], [80, 0, 80, 0], [81, -1, 80, 0, 0], [40.0, 40, 80, 0, 0]):
        with pytest.raises(UsageError, match="80 in all"):
            passive(Receiver(peer, DealtReceiver(1)), Ready(None), rows, SMALL)
    shares = WoeShares(SMALL, *(np.zeros(count, np.uint64) for count in (5, 2, 2, 2)))
    for which in ([], [2], [-1]):
        with pytest.raises(UsageError, match="some of 2 columns"):
            give_woe(peer, shares, which)
        with pytest.raises(UsageError, match="some of 2 columns"):
            learn_woe(peer, shares, which)
    for opening in (active_iv, passive_iv):
        with pytest.raises(UsageError, match="not to 'all'"):
            opening(peer, shares, "all")
    assert peer.transcript == []


def test_shares_are_a_secret():
    shares = WoeShares(SMALL, *(np.full(count, 222, np.uint64) for count in (5, 2, 2, 2)))
    assert repr(shares) == "WoeShares(2 columns, 5 bins, secret)"
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(shares)
    with pytest.raises(TypeError, match="no truth value"):
        bool(shares)


# A bad peer at every receive


def active_role(peer):
    return left_role(SMALL, LABELS, then=lambda peer, shares: active_iv(peer, shares, "active"))(peer)


def passive_role(peer):
    return right_role(SMALL, CODES, then=lambda peer, shares: learn_woe(peer, shares, [0]))(peer)


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    one = overhear(active_role, right_role(SMALL, CODES, then=lambda peer, shares: passive_iv(peer, shares, "active")))
    other = overhear(left_role(SMALL, LABELS, then=lambda peer, shares: give_woe(peer, shares, [0])), passive_role)
    return one.left_peer.heard, other.right_peer.heard


@pytest.mark.parametrize(("role", "of"), [(active_role, 0), (passive_role, 1)], ids=["active", "passive"])
class TestBadPeer:
    def test_a_spoilt_frame_is_refused(self, role, of, good, saying):
        """Cut short, at every receive; every way to spoil a frame is tried in the tests of the parts."""
        for at, message in enumerate(good[of]):
            with pytest.raises(PeerError, match=f"Frame {at + 1} from bank.*{type(message).__name__}"):
                role(saying([*good[of][:at], encode(message)[:-1]]))

    def test_another_kind_or_count_is_refused(self, role, of, good, saying):
        for at, message in enumerate(good[of]):
            other = next(one for one in good[of] if len(one.values) != len(message.values))
            with pytest.raises(PeerError, match=f"Frame {at + 1} from bank"):
                role(saying([*good[of][:at], other]))

    def test_the_last_frame_spoilt_in_every_way(self, role, of, good, saying, spoil):
        *before, last = good[of]
        assert type(last) is OpenedNumbers
        with pytest.raises(PeerError, match=f"Frame {len(before) + 1} from bank.*OpenedNumbers"):
            role(saying([*before, spoil(encode(last))]))


def test_an_opened_share_beyond_its_ring_is_refused(good, saying):
    *before, last = good[0]
    with pytest.raises(PeerError, match=r"expected shares below 2\^56"):
        active_role(saying([*before, OpenedNumbers(last.values | 1 << 56)]))


# Who learns what: simulators. The receiver meets a peer that runs with an input that the simulator has made up, and at
# the end opens what the declared output asks for.

MADE_UP = np.random.default_rng(7).permutation(LABELS)
OTHER_CODES = np.column_stack([np.zeros(80, int), np.arange(80) % 3])


def close_to(declared, shares):
    """The opened shares of a simulated peer: what is missing from this side's, rounded as it rounds them."""
    rounded = ((shares >> np.uint64(8)) + ((shares & np.uint64(128)) > 0)) & np.uint64(2**56 - 1)
    whole = np.round(declared * 2**16).astype(np.int64).view(np.uint64)
    return OpenedNumbers(((whole - rounded) & np.uint64(2**56 - 1)).view(np.int64))


class TestActive:
    """It hears shares, corrections, and IVs if they are opened to it. The simulator knows no bin of B's."""

    def test_shape_and_declared_output(self, good):
        talk = overhear(left_role(SMALL, LABELS), right_role(SMALL, OTHER_CODES))
        declared = exact(CODES, LABELS, SMALL).iv
        simulated = [*talk.left_peer.heard, close_to(declared, talk.left.shares.iv)]
        assert sizes(simulated) == sizes(good[0])
        found, _ = replay(active_role, simulated)
        assert np.array_equal(found.shares.iv, talk.left.shares.iv)
        assert np.abs(found.then - declared).max() <= 2**-17

    @pytest.mark.parametrize("codes", [CODES, OTHER_CODES], ids=["real", "simulated"])
    def test_what_it_hears_is_uniform(self, codes):
        assert uniform(self.bits(codes), 2)

    def test_without_the_masks_it_is_not(self):
        assert not uniform(self.bits(CODES, Known, Blank), 2)

    @staticmethod
    def bits(codes, left=DealtSender, right=DealtReceiver):
        talk = overhear(left_role(SMALL, LABELS, source=left), right_role(SMALL, codes, source=right))
        values = np.concatenate([message.values[:-1] for message in kinds(talk.left_peer.heard, MaskedChoices)])
        return _native.unpack_bits(values, 8 * len(values), 1)


class TestPassive:
    """It hears ciphertexts, masked tables, and WOE if a column is opened to it. The simulator knows no label."""

    def test_shape_and_declared_output(self):
        talk = overhear(
            left_role(SMALL, MADE_UP, engine=private_product), right_role(SMALL, CODES, engine=private_product)
        )
        role = right_role(SMALL, CODES, engine=private_product, then=lambda peer, shares: learn_woe(peer, shares, [0]))
        giving = left_role(SMALL, LABELS, engine=private_product, then=lambda peer, shares: give_woe(peer, shares, [0]))
        declared = exact(CODES, LABELS, SMALL).woe[:2]
        simulated = [*talk.right_peer.heard, close_to(declared, talk.right.shares.woe[:2])]
        assert sizes(simulated) == sizes(overhear(giving, role).right_peer.heard)
        found, _ = replay(role, simulated)
        assert np.array_equal(found.shares.woe, talk.right.shares.woe)
        assert np.abs(found.then[0] - declared).max() <= 2**-17

    @pytest.mark.parametrize("labels", [LABELS, MADE_UP], ids=["real", "simulated"])
    def test_what_it_hears_is_uniform(self, labels):
        talk = overhear(left_role(SMALL, labels), right_role(SMALL, CODES))
        values = np.concatenate([message.values[:-1] for message in kinds(talk.right_peer.heard, MaskedTables)])
        assert uniform(values, 256)


def test_shares_are_uniform_on_both_sides():
    """Eight runs on the same input, each with other correlations."""
    columns, codes, labels = table(40, [3] * 12, 8)
    for shares in zip(*(shares_with(seed, columns, codes, labels) for seed in range(8)), strict=True):
        for field in ("woe", "iv", "mean", "scale"):
            numbers = np.concatenate([getattr(one, field) for one in shares])
            assert uniform(numbers >> np.uint64(62), 4)
            assert uniform(numbers & np.uint64(3), 4)


def shares_with(seed, columns, codes, labels):
    """Both sides' shares with these correlations."""
    talk = overhear(
        left_role(columns, labels, source=lambda _: DealtSender(seed)),
        right_role(columns, codes, source=lambda _: DealtReceiver(seed)),
    )
    return talk.left.shares, talk.right.shares


def test_the_shape_depends_on_public_sizes_alone():
    one = overhear(left_role(SMALL, LABELS), right_role(SMALL, CODES))
    other = overhear(left_role(SMALL, np.zeros(80, int)), right_role(SMALL, OTHER_CODES))
    for side in ("left_peer", "right_peer"):
        assert sizes(getattr(one, side).heard) == sizes(getattr(other, side).heard)


def test_two_hundred_bins_cost_what_the_page_says():
    """20 columns of ten bins, 30,000 people; the product is counted in `test_private_product.py`."""
    columns = Columns(30_000, (10,) * 20)
    codes = np.tile((np.arange(30_000) % 10)[:, None], 20)
    talk = overhear(left_role(columns, np.arange(30_000) % 7 == 0), right_role(columns, codes))
    frames = [*kinds(talk.left_peer.heard, MaskedChoices), *kinds(talk.right_peer.heard, MaskedTables)]
    assert (len(frames), sum(len(frame.values) for frame in frames)) == (94, 4_212_355)
