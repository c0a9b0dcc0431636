"""Who learns what in a logistic regression: simulators of whole trainings, the residue attack, bad peers.

Trainings are short, with the real products and dealt correlations. A side's simulator has that side's input, its
declared output (own final weights, the one bit) and public sizes. It is composed of the parts' simulators:

products, vector holder's messages   uniform residues (`UniformVectorHolder`)
products, matrix holder's messages   the matrix holder's code on a table of zeros: encryptions of uniform numbers
transfers                            their code on shares of nothing, with correlations that the simulator has drawn
opened bit, opened weights           the declared output less the receiver's share (`Declaring`)
"""

import dataclasses
import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from dealer import DealtReceiver, DealtSender
from overhearing import kinds, overhear, sizes
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from test_oblivious_transfer import CONFIDENCE, Blank, Known, uniform
from test_private_product import some_residues
from test_private_product import uniform as uniform_bytes

from fedbank.errors import PeerError, UsageError
from fedbank.models import logistic, logistic_opening
from fedbank.models.logistic import LogisticState, LogisticTerms, PassiveBins
from fedbank.models.logistic_columns import BinCodes
from fedbank.models.logistic_design import LogisticParameters, Scales, design_of
from fedbank.models.logistic_opening import OwnWeights, PartialScores, open_weights
from fedbank.models.logistic_regression import ActiveLogisticRegression, PassiveLogisticRegression
from fedbank.protocols import plain_product, private_product
from fedbank.protocols.comparison import OpenedBits
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables, packed_size
from fedbank.protocols.private_product import EncryptedNumbers, MaskedAnswers, ProductPublicKey
from fedbank.protocols.product_parameters import choose_slots
from fedbank.protocols.share_arithmetic import SenderSide
from fedbank.talk.codec import Most, encode

PEOPLE = 304  # bits of each kind of message fill whole bytes
COLUMNS = 3  # of each side, the intercept among the active one's
OWN = {"active": slice(0, 3), "passive": slice(3, 6)}
PASSES = 2
PARAMETERS = LogisticParameters(passes=PASSES, tolerance=1e-3)
ACCELERATED = dataclasses.replace(PARAMETERS, solver="accelerated")
DEALT = {"active": (DealtSender, DealtReceiver), "passive": (DealtReceiver, DealtSender)}
SEEDS = (3, 4)
SIDES = {"active": "left", "passive": "right"}


def world(people=PEOPLE, active=2, passive=3, seed=1):
    """Columns of both parties and labels that follow from them."""
    draw = np.random.default_rng(seed)
    A, B = draw.normal(size=(people, active)), draw.normal(size=(people, passive))
    z = 1.5 * A.sum(axis=1) + 1.5 * B[:, 0] - B[:, 1:].sum(axis=1)
    y = (draw.uniform(size=people) < expit(z)).astype(float)
    y[:2] = 0, 1
    return SimpleNamespace(A=A, B=B, y=y)


WORLD = world()


@dataclasses.dataclass
class View:
    """What one side comes by: shares of each pass; of each product (name, the own vector, share, moduli)."""

    scores: list
    residuals: list
    gradients: list
    vectors: list
    opened: list
    masks: list


@pytest.fixture
def views(monkeypatch):
    """Views of both sides, filled by every training of the test."""
    found = {side: View(*([] for _ in range(6))) for side in SIDES}

    def watched(side, role):
        class Watched(role):
            def values(self, z, *rest):
                found[side].scores.append(z.copy())
                return super().values(z, *rest)

        return Watched

    gradient, residuals = logistic._gradient, logistic._residuals

    def watched_residuals(side, people, *rest):
        found["active" if isinstance(side, SenderSide) else "passive"].residuals.append(people.copy())
        return residuals(side, people, *rest)

    def watched_gradient(side, *rest):
        result = gradient(side, *rest)
        found["active" if isinstance(side, SenderSide) else "passive"].gradients.append(result.copy())
        return result

    monkeypatch.setattr(logistic, "ActiveSigmoid", watched("active", logistic.ActiveSigmoid))
    monkeypatch.setattr(logistic, "PassiveSigmoid", watched("passive", logistic.PassiveSigmoid))
    monkeypatch.setattr(logistic, "_residuals", watched_residuals)
    monkeypatch.setattr(logistic, "_gradient", watched_gradient)
    return found


def watched_engine(view, vector_holder=private_product.VectorHolder):
    """The products, and what a side's ends come by."""

    class Vectors(vector_holder):
        def ask_times(self, vector):
            view.vectors.append(("times", vector))
            super().ask_times(vector)

        def ask_transposed_times(self, vector):
            view.vectors.append(("transposed", vector))
            super().ask_transposed_times(vector)

        def learn_times(self):
            return self._note("times", super().learn_times(), (2**self._sizes.bits,))

        def learn_transposed_times(self):
            return self._note("transposed", super().learn_transposed_times(), (2**self._sizes.bits,))

        def elementwise(self, factors):
            return self._note("elementwise", super().elementwise(factors), choose_slots(self._sizes).primes)

        def _note(self, name, share, moduli):
            view.opened.append((name, np.atleast_2d(share), moduli))
            return share

    class Matrices(private_product.MatrixHolder):
        def times(self):
            return self._note("times", super().times())

        def transposed_times(self):
            return self._note("transposed", super().transposed_times())

        def elementwise(self, factors):
            return self._note("elementwise", super().elementwise(factors))

        def _note(self, name, share):
            view.masks.append((name, np.atleast_2d(share)))
            return share

    return SimpleNamespace(VectorHolder=Vectors, MatrixHolder=Matrices)


def dealt(side, ends=None):
    return tuple(end(seed) for end, seed in zip((ends or DEALT)[side], SEEDS, strict=True))


def role_of(side, data, parameters=PARAMETERS, *, engine=private_product, ends=None, final=None, **given):
    """A side's training and the opening of its weights. `final`: where it puts its last state before it opens them."""

    def play(peer):
        options = {"engine": engine, "sources": dealt(side, ends), **given}
        if side == "active":
            states = list(logistic.active(peer, data.A, data.y, parameters, **options))
        else:
            states = list(logistic.passive(peer, data.B, parameters, **options))
        if final is not None:
            final[side] = states[-1]
        weights = open_weights(peer, states[-1], active=side == "active") if parameters.open_weights else None
        return SimpleNamespace(states=states, weights=weights)

    return play


def train(data=WORLD, parameters=PARAMETERS, *, views=None, ends=None, engine=private_product, **given):
    """Both sides face to face; `views`: filled, with real products only."""
    engines = {side: watched_engine(views[side]) if views else engine for side in SIDES}
    return overhear(
        role_of("active", data, parameters, engine=engines["active"], ends=ends, **given),
        role_of("passive", data, parameters, engine=engines["passive"], ends=ends),
        names=("passive", "active"),
    )


# Simulators


class UniformLine:
    """A line on which what a vector holder sends turns into uniform residues."""

    def __init__(self, peer):
        self._peer = peer
        self.primes = ()

    def __getattr__(self, name):
        return getattr(self._peer, name)

    def send(self, message):
        if isinstance(message, ProductPublicKey):
            message = ProductPublicKey(message.seed, some_residues(self.primes))
        elif isinstance(message, EncryptedNumbers):
            rows = [some_residues(self.primes) for _ in message.values]
            message = EncryptedNumbers(message.seed, np.stack(rows))
        self._peer.send(message)


class UniformVectorHolder(private_product.VectorHolder):
    """Says what the matrix holder's simulator says: no number goes into it. What it opens is any number."""

    def __init__(self, peer, sizes, **options):
        super().__init__(UniformLine(peer), sizes, **options)

    def _key_of(self, ciphertexts):
        self._peer.primes = ciphertexts.primes
        return super()._key_of(ciphertexts)


class Declaring:
    """The simulator's line: where something is opened it hears the receiver first, and says what makes the receiver
    come to its declared output."""

    def __init__(self, peer, receiver, output, final):
        self._peer, self._receiver, self._output, self._final = peer, receiver, output, final
        self._heard = []

    def __getattr__(self, name):
        return getattr(self._peer, name)

    def receive(self, kind, **bounds):
        return self._heard.pop() if self._heard else self._peer.receive(kind, **bounds)

    def send(self, message):
        if isinstance(message, OpenedBits):
            theirs = self._hear(OpenedBits, values=(1,))
            message = OpenedBits(theirs.values ^ np.uint8(self._output.short))  # one bit, the lowest of its byte
        elif isinstance(message, PassiveBins):
            (message,) = self._output.bins
        elif isinstance(message, OwnWeights):
            self._hear(OwnWeights, values=(Most(100),))
            message = OwnWeights(self._declared_less_share())
        self._peer.send(message)

    def _hear(self, kind, **bounds):
        self._heard.append(self._peer.receive(kind, **bounds))
        return self._heard[0]

    def _declared_less_share(self):
        state, active = self._final[self._receiver], self._receiver == "active"
        ring, unit = logistic_opening._opened_ring(state.scales, active=active)
        whole = np.rint(self._output.weights / unit).astype(np.int64).view(np.uint64)
        share = logistic_opening._opened_shares(state, active=active)
        return (whole - share & np.uint64(2**ring - 1)).view(np.int64)


def other(side):
    return "passive" if side == "active" else "active"


def nothing_like(data):
    """What a simulator trains on: public sizes."""
    B = BinCodes(data.B.codes * 0, data.B.widths) if isinstance(data.B, BinCodes) else data.B * 0
    return SimpleNamespace(A=data.A * 0, B=B, y=np.arange(PEOPLE) % 2.0)


def simulated(receiver, output, views=None, data=WORLD, parameters=PARAMETERS):
    """A training in which the receiver faces its simulator: `output` is what the table grants it."""
    final, engine = {}, watched_engine(views[receiver]) if views else private_product
    blind = SimpleNamespace(VectorHolder=UniformVectorHolder, MatrixHolder=private_product.MatrixHolder)
    own = role_of(receiver, data, parameters, engine=engine, final=final)
    fake = role_of(other(receiver), nothing_like(data), parameters, engine=blind)
    roles = {receiver: own, other(receiver): lambda peer: fake(Declaring(peer, receiver, output, final))}
    return overhear(roles["active"], roles["passive"], names=("passive", "active"))


def declared(talk, receiver):
    """What the table grants a side: its weights, the bit, and what bins there are."""
    result = getattr(talk, SIDES[receiver])
    bins = kinds(talk.left_peer.heard, PassiveBins)
    return SimpleNamespace(weights=result.weights, short=result.states[-1].short, bins=bins)


def heard_by(talk, side):
    return getattr(talk, f"{SIDES[side]}_peer").heard


@pytest.fixture(scope="module")
def once():
    """One real training."""
    return train()


both_sides = pytest.mark.parametrize("side", list(SIDES))


BINS = SimpleNamespace(A=WORLD.A, y=WORLD.y, B=BinCodes(np.digitize(WORLD.B, [-0.7, 0.0, 0.7]), (4, 4, 4)))
WOE = dataclasses.replace(PARAMETERS, coding="woe")


@pytest.fixture(scope="module")
def once_binned():
    """One real training over shared weights of evidence."""
    return train(BINS, WOE)


@pytest.fixture(scope="module")
def once_accelerated():
    """One real training with accelerated steps."""
    return train(parameters=ACCELERATED)


@both_sides
@pytest.mark.parametrize(
    ("kind", "short"), [("quasi-newton", False), ("quasi-newton", True), ("accelerated", True), ("woe", False)]
)
def test_each_side_hears_what_its_simulator_makes(side, kind, short, once, once_accelerated, once_binned):
    """The same frames, in the same order, of the same sizes; and the receiver comes to its declared output."""
    talk, *given = {
        "quasi-newton": (once, WORLD, PARAMETERS),
        "accelerated": (once_accelerated, WORLD, ACCELERATED),
        "woe": (once_binned, BINS, WOE),
    }[kind]
    output = declared(talk, side)
    output.short = short
    made = simulated(side, output, None, *given)
    assert sizes(heard_by(made, side)) == sizes(heard_by(talk, side))
    assert sizes(getattr(made, f"{SIDES[side]}_peer").said) == sizes(getattr(talk, f"{SIDES[side]}_peer").said)
    result = getattr(made, SIDES[side])
    assert np.array_equal(result.weights, output.weights)
    assert np.abs(output.weights).min() > 1e-3
    assert [state.short for state in result.states] == [False, short]


def test_the_declared_weights_are_those_of_the_joined_table(once_accelerated):
    """Two passes of the accelerated steps in floats: the outputs that simulators are given are no other numbers."""
    designs = design_of(WORLD.A, PARAMETERS, active=True), design_of(WORLD.B, PARAMETERS, active=False)
    Q = np.hstack([design.whitened(X) for design, X in zip(designs, (WORLD.A, WORLD.B), strict=True)])
    T = np.zeros((6, 6))
    T[1:3, 1:3], T[3:, 3:] = (design.mixing for design in designs)
    v = u = np.zeros(6)
    for k in range(PASSES):
        new = u - 2 / PEOPLE * (Q.T @ (expit(Q @ u) - WORLD.y) + T.T @ T @ u)
        u, v = new + k / (k + 5) * (new - v), new
    found = np.concatenate([once_accelerated.left.weights, once_accelerated.right.weights])
    np.testing.assert_allclose(found, v, atol=1e-4)
    assert np.abs(v).min() > 0.01


@pytest.mark.parametrize("source", ["real", "simulated"])
@both_sides
def test_what_is_heard_is_uniform_really_and_simulated(side, source, once):
    talk = once if source == "real" else simulated(side, declared(once, side))
    heard = heard_by(talk, side)
    transfers = [m.values for kind in (MaskedChoices, MaskedTables) for m in kinds(heard, kind) if len(m.values) > 800]
    assert len(transfers) >= PASSES * (1 if side == "active" else 3)
    assert all(uniform(values & 15, 16) for values in transfers)
    small = [
        m.values[:-1]
        for kind in (MaskedChoices, MaskedTables)
        for m in kinds(heard, kind)
        if len(m.values) == PEOPLE // 8
    ]
    assert len(small) >= PASSES
    assert uniform(np.concatenate(small) & 15, 16)
    for kind in (ProductPublicKey, EncryptedNumbers):
        assert all(uniform_bytes(np.atleast_2d(message.values)) for message in kinds(heard, kind))
    for message in kinds(heard, MaskedAnswers):
        assert uniform_bytes(np.atleast_2d(message.other))
        assert message.useful.size < 2000 or uniform_bytes(message.useful[None])


def spread(rows, moduli):
    """Whether numbers modulo each of the moduli look uniform."""
    return all(
        scipy.stats.kstest(row.astype(float) / modulus, "uniform").pvalue > CONFIDENCE
        for row, modulus in zip(rows, moduli, strict=True)
    )


PRODUCTS = {"active": ["times", "transposed", "elementwise"], "passive": ["times", "transposed"]}


def joined(found, name):
    """All shares of one kind of product."""
    return np.concatenate([entry[1] for entry in found if entry[0] == name], axis=1)


@pytest.mark.parametrize("source", ["real", "simulated"])
@both_sides
def test_what_a_side_decrypts_is_uniform_really_and_simulated(side, source, once, views):
    for _ in range(3):
        if source == "real":
            train(parameters=ACCELERATED, views=views)
        else:
            simulated(side, declared(once, side), views, parameters=ACCELERATED)
    view = views[side]
    moduli = {name: moduli for name, _, moduli in view.opened}
    assert sorted(moduli) == sorted(PRODUCTS[side])
    for name in PRODUCTS[side]:
        assert spread(joined(view.opened, name), moduli[name])


def table_of(side):
    """A side's matrix in the ring of words."""
    scales, active = Scales(PEOPLE, COLUMNS, COLUMNS, PARAMETERS), side == "active"
    X = WORLD.A if active else WORLD.B
    return design_of(X, PARAMETERS, active=active).matrix(X, scales, first=active).view(np.uint64)


@both_sides
def test_without_the_masks_of_the_products_it_is_not(side, views):
    """Beside rho there is nothing but the peer's table times own numbers, for whoever knows both; of the sigmoid, sums
    of a few products that are visibly not uniform."""
    for _ in range(3):
        train(parameters=ACCELERATED, views=views)
    view, table = views[side], table_of(other(side))
    for name, turned in (("times", table), ("transposed", table.T)):
        ring = view.opened[0][2][0]
        products = np.concatenate([turned @ vector for one, vector in view.vectors if one == name])[None]
        shares = joined(view.opened, name)
        masks = joined(views[other(side)].masks, name)
        assert spread(shares - products & np.uint64(ring - 1), [ring])
        assert not spread(shares + masks - products & np.uint64(ring - 1), [ring])
    if side == "active":
        (moduli,) = {moduli for name, _, moduli in view.opened if name == "elementwise"}
        rings = np.array(moduli, np.uint64)[:, None]
        bare = (joined(view.opened, "elementwise") + joined(views["passive"].masks, "elementwise")) % rings
        assert not spread(bare, moduli)


@both_sides
def test_shares_of_scores_residuals_gradients_and_weights_are_uniform(side, views):
    talks = [train(views=views) for _ in range(2)]
    scales, view = talks[0].left.states[0].scales, views[side]
    assert spread([np.concatenate(view.scores)], [2**scales.bits])
    assert spread([np.concatenate(view.residuals)], [2**scales.sigmoid.ring])
    assert spread([np.concatenate(view.gradients)], [2**64])
    states = [state for talk in talks for state in getattr(talk, SIDES[side]).states]
    assert spread([np.concatenate([state.weights for state in states])], [2**64])
    assert spread([np.concatenate([state.ahead for state in states[1::PASSES]])], [2**64])
    memories = [state.memory for state in states[1::PASSES]]
    parts = [part for one in memories for part in (one.s[-1], one.y[-1], one.gradient, one.direction, one.gamma)]
    assert spread([np.concatenate(parts)], [2**64])


# A mask of a transfer left out: the same tests fail


def last_bits(message, bits):
    """The lowest bit of each of the numbers of one message."""
    return np.unpackbits(message.values, bitorder="little")[: PEOPLE * bits].reshape(PEOPLE, bits)[:, 0]


BARE = {"active": (Known, DealtReceiver), "passive": (Blank, DealtSender)}  # without Delta a mask is an even number


def numbers_of_people(talk, bits):
    """Messages to the passive side with a number of so many bits for each person."""
    return [m for m in kinds(heard_by(talk, "passive"), MaskedTables) if len(m.values) == packed_size(PEOPLE, bits)]


@pytest.mark.parametrize("step", ["sigmoid", "lift"])
def test_without_the_mask_of_a_transfer_its_numbers_go_out(step, once):
    """In the sigmoid the second transfer to the passive side, whose numbers are the weights; in the lift, whose numbers
    are the wrap bits of residuals."""
    scales = once.left.states[0].scales
    bits = scales.sigmoid.ring if step == "sigmoid" else scales.bits
    place = 1 if step == "sigmoid" else 0
    for talk, expected in (
        (once, True),
        (simulated("passive", declared(once, "passive")), True),
        (train(ends=BARE), False),
    ):
        found = numbers_of_people(talk, bits)
        assert len(found) == PASSES * (place + 1)
        assert uniform(last_bits(found[place], bits), 2) is expected


def wraps_beside_own_share(talk, view, scales):
    """The corrections of the residuals' lift, XOR the wrap bits that follow from the own share of small residuals."""
    bits = [m.values for m in kinds(heard_by(talk, "active"), MaskedChoices) if len(m.values) == packed_size(PEOPLE, 1)]
    assert len(bits) == 3 * PASSES  # selection, weights, lift
    heard = np.unpackbits(bits[2], bitorder="little")[:PEOPLE]
    expected = np.uint64(0) - view.residuals[0] >> np.uint64(scales.sigmoid.ring - 1) & np.uint64(1)
    return heard ^ expected.astype(np.uint8)


@pytest.mark.parametrize("source", ["real", "simulated", "bare"])
def test_without_the_mask_of_a_lifts_corrections_they_follow_from_the_own_share(source, once, views):
    talk = {
        "real": train,
        "simulated": lambda: simulated("active", declared(once, "active")),
        "bare": lambda: train(ends=BARE),
    }[source]()
    found = wraps_beside_own_share(talk, views["active"], once.left.states[0].scales)
    assert uniform(found, 2) is (source != "bare")


# The shape of a training does not depend on private values


def separable(data):
    return SimpleNamespace(A=data.A, B=data.B, y=(data.B[:, 0] > 0).astype(float))


OTHERS = {
    "other labels": SimpleNamespace(A=WORLD.A, B=WORLD.B, y=1 - WORLD.y),
    "one bad": SimpleNamespace(A=WORLD.A, B=WORLD.B, y=(np.arange(PEOPLE) == 7).astype(float)),
    "other columns": SimpleNamespace(A=1e6 * WORLD.A**3, B=np.zeros_like(WORLD.B), y=WORLD.y),
    "separable": separable(WORLD),
    "collinear": SimpleNamespace(A=WORLD.A[:, [0, 0]], B=WORLD.A[:, [0, 0, 0]], y=WORLD.y),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_other_values_make_the_same_frames(name, once):
    talk = train(OTHERS[name])
    for side in SIDES:
        assert sizes(heard_by(talk, side)) == sizes(heard_by(once, side))


def test_weights_of_people_make_the_same_frames():
    parameters = dataclasses.replace(PARAMETERS, weight_bound=3.0)
    plain, weighted = (
        train(parameters=parameters, engine=plain_product, sample_weight=given)
        for given in (None, np.where(WORLD.y == 1, 3.0, 0.0))
    )
    for side in SIDES:
        assert sizes(heard_by(weighted, side)) == sizes(heard_by(plain, side))


@pytest.mark.parametrize(
    "penalty", [{"solver": "accelerated"}, {"penalty": None}, {"penalty": "elasticnet", "l1_ratio": 0.5}], ids=str
)
def test_the_frames_of_other_penalties_depend_on_sizes_alone(penalty):
    parameters = dataclasses.replace(PARAMETERS, **penalty)
    talks = [train(data, parameters, engine=plain_product) for data in (WORLD, OTHERS["separable"])]
    for side in SIDES:
        assert sizes(heard_by(talks[0], side)) == sizes(heard_by(talks[1], side))


def test_other_bins_and_labels_make_the_same_frames(once_binned):
    lone = SimpleNamespace(A=WORLD.A, y=1 - WORLD.y, B=BinCodes(BINS.B.codes * 0 + 3, BINS.B.widths))
    talk = train(lone, WOE)
    for side in SIDES:
        assert sizes(heard_by(talk, side)) == sizes(heard_by(once_binned, side))


def test_one_bit_and_the_own_weights_are_all_that_is_opened(once):
    """Kinds of messages that open something, and how often."""
    for side, columns in (("active", 3), ("passive", 3)):
        names = [name for name, _ in sizes(heard_by(once, side))]
        assert names[0] == "LogisticTerms"
        assert names[-2:] == ["OpenedBits", "OwnWeights"]
        masked = {"MaskedChoices", "MaskedTables", "ProductPublicKey", "EncryptedNumbers", "MaskedAnswers"}
        assert set(names[1:-2]) == masked
        assert len(kinds(heard_by(once, side), OwnWeights)[0].values) == columns
        assert len(kinds(heard_by(once, side), OpenedBits)[0].values) == 1


def test_weights_that_stay_shared_are_not_sent():
    parameters = dataclasses.replace(PARAMETERS, open_weights=False)
    talk = train(parameters=parameters, engine=plain_product)
    for side in SIDES:
        names = [name for name, _ in sizes(heard_by(talk, side))]
        assert "OwnWeights" not in names
        assert names.count("OpenedBits") == 1


def test_scores_tell_the_active_side_alone(once):
    """With weights that stay shared: masked products both ways, then the passive side's share of each score, which is
    uniform but for the score."""
    states = {side: getattr(once, SIDES[side]).states[-1] for side in SIDES}
    designs = design_of(WORLD.A, PARAMETERS, active=True), design_of(WORLD.B, PARAMETERS, active=False)
    talk = overhear(
        lambda peer: logistic_opening.active_scores(peer, states["active"], designs[0], WORLD.A),
        lambda peer: logistic_opening.passive_scores(peer, states["passive"], designs[1], WORLD.B),
    )
    assert talk.right is None
    assert {type(message) for message in talk.right_peer.heard} == {ProductPublicKey, EncryptedNumbers, MaskedAnswers}
    (theirs,) = kinds(talk.left_peer.heard, PartialScores)
    bits, unit = logistic_opening._score_ring(states["active"].scales)
    ring = 2.0**bits
    assert spread([theirs.values], [ring])
    own = np.hstack([design.whitened(X) for design, X in zip(designs, (WORLD.A, WORLD.B), strict=True)])
    weights = np.concatenate([once.left.weights, once.right.weights])
    np.testing.assert_allclose(talk.left, own @ weights, atol=0.01)
    assert not spread([talk.left / unit % ring], [ring])  # without the mask


def test_scores_under_open_weights_say_the_passive_partys_part_and_nothing_to_it(once):
    designs = {
        side: design_of(X, PARAMETERS, active=side == "active")
        for side, X in (("active", WORLD.A), ("passive", WORLD.B))
    }
    models = {"active": ActiveLogisticRegression(), "passive": PassiveLogisticRegression()}
    for side, model in models.items():
        design, result = designs[side], getattr(once, SIDES[side])
        coefficients, intercept = design.coefficients(result.weights)
        model.state_, model.design_, model.mean_, model.scale_ = result.states[-1], design, design.mean, design.scale
        model.coef_, model.intercept_, model.n_features_in_ = (
            coefficients[None],
            np.array([intercept]),
            len(design.mean),
        )
    talk = overhear(
        lambda peer: models["active"].decision_function(WORLD.A, peer=peer),
        lambda peer: models["passive"].answer(WORLD.B, peer=peer),
    )
    assert talk.right_peer.heard == []
    (theirs,) = talk.left_peer.heard
    np.testing.assert_allclose(theirs.values, designs["passive"].whitened(WORLD.B) @ once.right.weights, atol=1e-9)
    np.testing.assert_allclose(
        talk.left - theirs.values, designs["active"].whitened(WORLD.A) @ once.left.weights, atol=1e-9
    )


# What is printed


def test_states_designs_and_estimators_show_no_value(once):
    marks = [f"{value:.4g}"[:5] for value in once.left.weights] + [str(word) for word in once.left.states[-1].weights]
    design = design_of(WORLD.A, PARAMETERS, active=True)
    marks += [f"{value:.4g}"[:5] for value in (*design.mean, *design.scale)]
    fitted = ActiveLogisticRegression()
    fitted.state_, fitted.design_, fitted.coef_ = once.left.states[-1], design, once.left.weights
    passive = PassiveLogisticRegression()
    passive.state_, passive.coef_ = once.right.states[-1], once.right.weights
    messages = [*kinds(heard_by(once, "active"), OwnWeights), *kinds(heard_by(once, "active"), LogisticTerms)]
    for shown in (once.left.states[-1], design, fitted, passive, *messages):
        for text in (repr(shown), str(shown), f"{shown}"):
            assert not [mark for mark in marks if mark in text]


# Attacks. First a protocol that leaks, in the clear, as federated logistic regression under Paillier opens gradients to
# the passive party that owns the columns; then the same attacker over what a party of this protocol sees.


def leaky(data, batches, rate=0.5):
    """Steps over batches; what the passive party sees of each: rows, its own scores, the gradient of its weights."""
    a, b = np.zeros(data.A.shape[1]), np.zeros(data.B.shape[1])
    for rows in batches:
        A, B = data.A[rows], data.B[rows]
        residuals = expit(A @ a + B @ b) - data.y[rows]
        yield SimpleNamespace(rows=rows, scores=B @ b, gradient=B.T @ residuals, other_scores=A @ a)
        a, b = a - rate / len(rows) * A.T @ residuals, b - rate / len(rows) * B.T @ residuals


def residuals_of(gradient, columns):
    """Residue attack: the residuals (the smallest of several) whose sums over the columns are the gradient."""
    return np.linalg.lstsq(columns.T, gradient, rcond=None)[0]


def likeness(guess, y):
    """How well a guess orders the labels, 0.5 to 1: an attacker may learn the sign in passing."""
    area = roc_auc_score(y, guess)
    return max(area, 1 - area)


def by_chance(y):
    """What a guess does not reach by chance, but for less than one in a million."""
    bad = y.sum()
    return 0.5 + 5 * np.sqrt((len(y) + 1) / (12 * bad * (len(y) - bad)))


def test_danger_a_batch_smaller_than_the_columns_gives_every_label():
    data = world(people=60, passive=6)
    for step in leaky(data, np.arange(60).reshape(15, 4)):
        found = residuals_of(step.gradient, data.B[step.rows])
        assert np.array_equal(found < 0, data.y[step.rows] == 1)


def test_danger_larger_batches_drawn_anew_give_them_after_some_passes():
    """60 unknown labels, 4 batches of 15 with 6 equations each a pass: three passes are 72 equations. The active party
    has labels only, so that the passive party knows every score."""
    data = world(people=60, active=1, passive=6)
    data.A = np.zeros((60, 1))
    draw, equations, sums = np.random.default_rng(2), [], []
    batches = [rows for _ in range(3) for rows in draw.permutation(60).reshape(4, 15)]
    for step in leaky(data, batches):
        block = np.zeros((6, 60))
        block[:, step.rows] = data.B[step.rows].T
        equations.append(block)
        sums.append(block[:, step.rows] @ expit(step.scores) - step.gradient)
    assert np.linalg.matrix_rank(np.vstack(equations[:8])) < 60
    found = np.linalg.lstsq(np.vstack(equations), np.concatenate(sums), rcond=None)[0]
    np.testing.assert_allclose(found, data.y, atol=1e-6)


def labels_that_fit(gradient, columns):
    """Of all labels those whose first full gradient, at weights of nothing, is the given one: X'(1/2 - y)."""
    every = np.array(list(itertools.product((0.0, 1.0), repeat=len(columns))))
    return every[np.abs((0.5 - every) @ columns - gradient).sum(axis=1).argmin()]


def test_danger_a_full_gradient_of_few_people_gives_them_by_trying():
    """3 equations, 14 unknown bits: only one vector of labels fits. Further passes add nothing to the labels' sums."""
    data = world(people=14)
    first = next(leaky(data, [np.arange(14)]))
    assert np.array_equal(labels_that_fit(first.gradient, data.B), data.y)


def signed(words, bits):
    """Shares as an attacker takes them who hopes that the other share is nothing."""
    return (words << np.uint64(64 - bits)).view(np.int64) / 2.0 ** (64 - bits)


LONG = dataclasses.replace(ACCELERATED, passes=12)


def leans(areas):
    """How likely it is by chance that so many of the guesses lean to one side."""
    return scipy.stats.binomtest(sum(area > 0.5 for area in areas), len(areas)).pvalue


def test_the_residue_attack_over_the_passive_partys_view_is_chance(views):
    """Gradients: a guess is a direction in its own columns, which any direction's scores order somehow; from shares it
    leans to the labels as often as away from them, from opened gradients always to them. Residuals, scores: chance."""
    talk = train(parameters=dataclasses.replace(LONG, passes=24), views=views)
    scales, view, y = talk.left.states[0].scales, views["passive"], WORLD.y
    Q = design_of(WORLD.B, PARAMETERS, active=False).whitened(WORLD.B)
    opened = [own + theirs for own, theirs in zip(view.gradients, views["active"].gradients, strict=True)]

    def areas(gradients):
        return [roc_auc_score(y, -residuals_of(signed(words[OWN["passive"]], 64), Q)) for words in gradients]

    assert min(areas(opened[:1])) > 0.7
    assert leans(areas(view.gradients)) > CONFIDENCE
    for shares, bits in ((view.residuals, scales.sigmoid.ring), (view.scores, scales.bits)):
        assert len(shares) == 24
        assert all(likeness(signed(share, bits), y) < by_chance(y) for share in shares)
    residuals = view.residuals[-1] + views["active"].residuals[-1]
    assert likeness(signed(residuals, scales.sigmoid.ring), y) > 0.99


def test_an_attacker_who_knows_half_of_the_labels_learns_the_others_from_its_weights_alone(views):
    """A model over all its shares of twelve passes, fitted to the labels that it knows, orders the others by chance.
    Its final weights order them better: that is what they are for."""
    talk = train(parameters=LONG, views=views)
    scales, view, y = talk.left.states[0].scales, views["passive"], WORLD.y
    shares = [signed(share, scales.sigmoid.ring) for share in view.residuals]
    shares += [signed(share, scales.bits) for share in view.scores]
    seen = np.column_stack(shares)
    seen /= np.abs(seen).max(axis=0)
    known, hidden = np.arange(PEOPLE) % 2 == 0, np.arange(PEOPLE) % 2 == 1
    fitted = LogisticRegression(C=0.1).fit(seen[known], y[known])
    assert likeness(fitted.decision_function(seen[hidden]), y[hidden]) < by_chance(y[hidden])
    own = design_of(WORLD.B, LONG, active=False).whitened(WORLD.B) @ talk.right.weights
    assert likeness(own[hidden], y[hidden]) > by_chance(y[hidden])
    with_shares = np.column_stack([own, seen])
    fitted = LogisticRegression(C=0.1).fit(with_shares[known], y[known])
    better = likeness(fitted.decision_function(with_shares[hidden]), y[hidden]) - likeness(own[hidden], y[hidden])
    assert better < by_chance(y[hidden]) - 0.5


def test_trying_all_labels_over_shares_finds_others(views):
    """Three trainings of 14 people: their labels would have to come out by chance, 2^-14 each time."""
    data = world(people=14)
    right = []
    for _ in range(3):
        train(data, ACCELERATED, views=views)
        view = views["passive"]
        design = design_of(data.B, PARAMETERS, active=False)
        Q = design.whitened(data.B)
        public = Scales(14, 3, 3, PARAMETERS)
        both = view.gradients[-PASSES] + views["active"].gradients[-PASSES]
        one = 2.0 ** (public.entry_bits + public.residual_bits)
        shares, opened = (signed(words[OWN["passive"]], 64) / one for words in (view.gradients[-PASSES], both))
        assert np.array_equal(labels_that_fit(opened, Q), data.y)
        right.append(np.array_equal(labels_that_fit(shares, Q), data.y))
    assert not all(right)


def explained(columns, seen):
    """The part of each column's variance that numbers of the same people explain."""
    X = np.column_stack([np.ones(len(seen)), seen])
    rest = columns - X @ np.linalg.lstsq(X, columns, rcond=None)[0]
    return 1 - rest.var(axis=0) / columns.var(axis=0)


def test_danger_opened_partial_scores_give_the_columns():
    """An active party that sees z_B in as many passes as there are columns has their whole space."""
    steps = list(leaky(WORLD, [np.arange(PEOPLE)] * 5))
    seen = np.column_stack([step.scores for step in steps[1:]])
    assert explained(WORLD.B, seen / np.abs(seen).max(axis=0)).min() > 0.999


def test_the_active_partys_view_explains_the_banks_columns_by_chance(views):
    """36 numbers a person explain some 36/304 of anything. Final partial scores explain one direction, which scoring
    discloses."""
    talk = train(parameters=LONG, views=views)
    scales, view = talk.left.states[0].scales, views["active"]
    shares = [signed(share, scales.sigmoid.ring) for share in view.residuals]
    shares += [signed(share, scales.bits) for share in view.scores]
    shares += [signed(share[0, :PEOPLE], scales.bits) for name, share, _ in view.opened if name == "times"]
    seen = np.column_stack(shares)
    assert seen.shape == (PEOPLE, 36)
    assert explained(WORLD.B, seen / np.abs(seen).max(axis=0)).max() < 36 / 303 + 6 * np.sqrt(2 * 36) / 303
    whitened = design_of(WORLD.B, LONG, active=False).whitened(WORLD.B)
    direction = whitened @ talk.right.weights
    assert explained(direction[:, None], direction[:, None]) > 0.999
    assert explained(WORLD.B, direction[:, None]).min() < 0.6


def test_danger_two_trainings_that_differ_by_one_person_give_its_label():
    """What opened weights themselves say: the passive party's own weights move by q (y - p) in the metric of the
    curvature. In the clear, as any way to train opens them."""
    both = np.hstack([WORLD.A, WORLD.B])
    whole = LogisticRegression(tol=1e-10).fit(both, WORLD.y).coef_[0, 2:]
    people, right = range(0, PEOPLE, 15), []
    for person in people:
        rest = np.delete(np.arange(PEOPLE), person)
        without = LogisticRegression(tol=1e-10).fit(both[rest], WORLD.y[rest]).coef_[0, 2:]
        right.append((WORLD.B[person] @ (whole - without) > 0) == (WORLD.y[person] == 1))
    assert sum(right) >= len(people) - 2


def test_an_opened_weight_has_no_bits_below_its_rounding_errors():
    """Other shares, the same data: weights differ by more than a unit of what is opened."""
    talks = [train(parameters=dataclasses.replace(LONG, passes=8), engine=plain_product) for _ in range(4)]
    found = np.array([np.concatenate([talk.left.weights, talk.right.weights]) for talk in talks])
    unit = logistic_opening._opened_ring(talks[0].left.states[0].scales, active=True)[1]
    assert unit / 4 < found.std(axis=0).max() < 16 * unit
    np.testing.assert_allclose(found / unit, np.rint(found / unit), atol=1e-6)


# A bad peer at every message of this protocol's own. Without masks a role says the same again.

UNMASKED = SimpleNamespace(
    VectorHolder=plain_product.VectorHolder, MatrixHolder=partial(plain_product.MatrixHolder, random=bytes)
)
ROLES = {side: role_of(side, WORLD, dataclasses.replace(ACCELERATED, passes=1), engine=UNMASKED) for side in SIDES}


@pytest.fixture(scope="module")
def good():
    """What a good peer says to each role."""
    talk = overhear(ROLES["active"], ROLES["passive"])
    return {side: heard_by(talk, side) for side in SIDES}


@both_sides
@pytest.mark.parametrize("at", [0, -2, -1])
def test_a_spoilt_frame_is_refused(side, at, good, saying, spoil):
    heard = good[side]
    assert [type(heard[place]) for place in (0, -2, -1)] == [LogisticTerms, OpenedBits, OwnWeights]
    place = at % len(heard)
    with pytest.raises(PeerError, match=f"Frame {place + 1} from bank.*{type(heard[at]).__name__}"):
        ROLES[side](saying([*heard[:place], spoil(encode(heard[at]))]))


@both_sides
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"samples": PEOPLE + 1}, "bank trains on 305 people, this side on 304"),
        ({"parameters": bytes(32)}, "bank has other parameters"),
        ({"passes": 3}, "bank goes on after pass 3, this side after pass 0"),
        ({"columns": -1}, "bank has -1 columns; each party has 1 to 4000"),
        ({"columns": 0}, "bank has 0 columns"),
        ({"columns": 4001}, "bank has 4001 columns"),
    ],
)
def test_other_terms_are_refused(side, change, sentence, good, saying):
    terms = dataclasses.replace(good[side][0], **change)
    with pytest.raises(PeerError, match=sentence):
        ROLES[side](saying([terms]))


def test_a_party_without_columns_is_refused_and_says_nothing(saying):
    peer = saying([])
    with pytest.raises(UsageError, match="Each party has 1 to 4000 columns"):
        role_of("passive", SimpleNamespace(B=np.zeros((PEOPLE, 0))))(peer)
    assert peer.transcript == []


@pytest.mark.parametrize(
    "change", [{"widths": [0, 4, 4]}, {"widths": [4000, 4, 4]}, {"curvature": 0.9}, {"curvature": np.nan}]
)
def test_other_bins_are_refused(change, once_binned, saying):
    terms, bins, *_ = heard_by(once_binned, "active")
    changed = {"widths": bins.widths, "curvature": bins.curvature} | change
    with pytest.raises(PeerError, match="Bins of 3 columns"):
        role_of("active", BINS, WOE)(saying([terms, PassiveBins(np.array(changed["widths"]), changed["curvature"])]))


def test_a_spoilt_frame_of_bins_is_refused(once_binned, saying, spoil):
    terms, bins, *_ = heard_by(once_binned, "active")
    with pytest.raises(PeerError, match=r"Frame 2 from bank.*PassiveBins"):
        role_of("active", BINS, WOE)(saying([terms, spoil(encode(bins))]))


@both_sides
@pytest.mark.parametrize("count", [0, 2, 4])
def test_another_number_of_weights_is_refused(side, count, good, saying):
    heard = good[side]
    with pytest.raises(PeerError, match=f"Frame {len(heard)} from bank.*OwnWeights"):
        ROLES[side](saying([*heard[:-1], OwnWeights(np.zeros(count, np.int64))]))


def scoring(once):
    design = design_of(WORLD.A, PARAMETERS, active=True)
    return lambda peer: logistic_opening.active_scores(
        peer, once.left.states[-1], design, WORLD.A, engine=plain_product
    )


def scores_heard(once):
    other_design = design_of(WORLD.B, PARAMETERS, active=False)
    talk = overhear(
        scoring(once),
        lambda peer: logistic_opening.passive_scores(
            peer, once.right.states[-1], other_design, WORLD.B, engine=plain_product
        ),
    )
    return talk.left_peer.heard


def test_spoilt_scores_are_refused(once, saying, spoil):
    heard = scores_heard(once)
    with pytest.raises(PeerError, match=f"Frame {len(heard)} from bank.*PartialScores"):
        scoring(once)(saying([*heard[:-1], spoil(encode(heard[-1]))]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.0, 0.5, 2.0**60])
def test_scores_that_are_no_shares_are_refused(wrong, once, saying):
    heard = scores_heard(once)
    values = heard[-1].values.copy()
    values[3] = wrong
    with pytest.raises(PeerError, match="Frame PartialScores from bank: expected whole numbers below"):
        scoring(once)(saying([*heard[:-1], PartialScores(values)]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_partial_scores_that_are_no_numbers_are_refused(wrong, once, saying):
    model = ActiveLogisticRegression()
    design = design_of(WORLD.A, PARAMETERS, active=True)
    model.state_, model.design_, model.mean_, model.scale_ = once.left.states[-1], design, design.mean, design.scale
    model.coef_, model.intercept_, model.n_features_in_ = np.zeros((1, 2)), np.zeros(1), 2
    values = np.zeros(PEOPLE)
    assert np.array_equal(model.decision_function(WORLD.A, peer=saying([PartialScores(values)])), values)
    values[5] = wrong
    with pytest.raises(PeerError, match="Frame PartialScores from bank: expected finite numbers"):
        model.decision_function(WORLD.A, peer=saying([PartialScores(values)]))


def test_a_state_of_another_training_is_refused(once, saying, good):
    state = once.left.states[0]
    assert isinstance(state, LogisticState)
    other_people = world(people=PEOPLE - 1)
    with pytest.raises(UsageError, match="another training"):
        list(
            logistic.active(
                saying(
                    [dataclasses.replace(good["active"][0], samples=PEOPLE - 1, passes=1, parameters=PARAMETERS.digest)]
                ),
                other_people.A,
                other_people.y,
                PARAMETERS,
                sources=dealt("active"),
                state=state,
            )
        )
