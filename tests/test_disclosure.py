"""Who learns what, held against the wire: a simulator for each receiver of each protocol.

A simulator is given what the protocol's table grants the receiver (its own input, its declared output, the public
sizes) and makes the transcript that the receiver sees. Then
- the shape (names, order, sizes) of the real and of the simulated transcript is the same;
- the receiver's own role, fed with the simulated transcript, ends with the declared output;
- the masked fields of real and simulated runs pass the same uniformity test, over repeated runs on the same input;
- with a mask removed, the uniformity test fails.
"""

import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from dealer import DealtReceiver, DealtSender, pads_of
from overhearing import kinds, overhear, replay, sizes

from fedbank import _native, simulate
from fedbank.models import boosting
from fedbank.models.boosting import Partner, active, active_score, passive, passive_score
from fedbank.models.evaluation import TEST, TRAIN
from fedbank.models.trees import BoostingParameters
from fedbank.party.job import Job
from fedbank.party.people import Sample, Standing, Start
from fedbank.protocols import alignment, ecdh_psi, paillier_histogram, plain_histogram, set_items
from fedbank.protocols.hash_to_curve import hash_to_u
from fedbank.protocols.histogram import BinMatrix, Shape
from fedbank.protocols.oblivious_transfer import FIRST, MaskedChoices, MaskedTables, Receiver, Sender, packed_size
from fedbank.protocols.paillier_histogram import Packing
from fedbank.protocols.private_routing import NOWHERE, learn_sides, tell_sides
from fedbank.protocols.vole import LEAST_OUTPUTS, SilentReceiver, SilentSender
from fedbank.talk.codec import encode
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

CONFIDENCE = 1e-6
SEED = 11  # of the dealt correlations


def uniform(values, bits):
    """Whether byte strings look like independent uniform ones: no value twice, and no byte value preferred.

    `values`: uint8 (count, bytes), little endian; only the lowest `bits` bits of each are judged by value.
    """
    distinct = {value.tobytes() for value in values}
    judged = values[:, : bits // 8].ravel()
    counts = np.bincount(judged, minlength=256)
    return len(distinct) == len(values) and scipy.stats.chisquare(counts).pvalue > CONFIDENCE


def converse(one, other):
    """Run two roles face to face, each a function of its peer; returns both peers and both results."""
    talk = overhear(one, other, ("other", "one"))
    return SimpleNamespace(one=talk.left_peer, other=talk.right_peer, results=[talk.left, talk.right])


class Tape:
    """A receiver's random tape: the same bytes on every reading."""

    def __init__(self):
        self.tape = os.urandom(100_000)
        self.at = 0

    def __call__(self, count):
        self.at += count
        return self.tape[self.at - count : self.at]

    def again(self):
        copy = Tape()
        copy.tape = self.tape
        return copy


def random_points(count):
    points = b"".join(hash_to_u(os.urandom(32), b"simulator") for _ in range(count))
    return np.frombuffer(points, dtype=np.uint8).reshape(-1, 32)


def tags_of(points, width):
    return set_items.short_tags(points, ecdh_psi.PURPOSE + b"tag\0", width, 1)


def random_tags(count, width):
    return np.frombuffer(os.urandom(count * width), dtype=np.uint8).reshape(-1, width)


CASES = [(side, learns) for side in ("receiver", "sender") for learns in ("both", "receiver", "size")]


class TestIntersection:
    """Set intersection over the curve, with its three outcomes."""

    mine = [f"person {i}" for i in range(24)]
    theirs = [f"person {i}" for i in range(12, 42)]
    runs = 25

    def real(self, learns="both", tape=None, other_tape=None):
        return converse(
            lambda peer: ecdh_psi.receiver(peer, self.mine, "plain", learns=learns, random=tape or os.urandom),
            lambda peer: ecdh_psi.sender(peer, self.theirs, "plain", learns=learns, random=other_tape or os.urandom),
        )

    @staticmethod
    def simulate(side, learns, own_count, output, their_count, tape):
        """What a side hears, from its number of ids, its random tape, its output and the peer's number."""
        key = ecdh_psi.Key(tape)
        order = ecdh_psi.secret_order(own_count, tape)
        width = set_items.tag_bytes(own_count + their_count)
        masked = random_points(their_count)
        shuffled = masked[ecdh_psi.secret_order(their_count, os.urandom)]
        messages = [ecdh_psi.Agreed(learns), ecdh_psi.SetSize(their_count), ecdh_psi.Masked(shuffled)]
        if side == "sender" and learns != "both":
            return messages
        count = output if learns == "size" else len(output)
        shared = tags_of(key.times(masked[:count]), width)
        tags = random_tags(own_count, width).copy()
        if learns == "size":
            tags[ecdh_psi.secret_order(own_count, os.urandom)[:count]] = shared
        else:
            place = np.argsort(order)  # of each row among the masked points
            tags[place[output]] = shared[set_items.in_byte_order(shared)]
        return [*messages, ecdh_psi.Doubled(tags)]

    def side(self, side, learns):
        """A side's ids, the peer's, what it heard in a real run and its output."""
        done = self.real(learns)
        if side == "receiver":
            return self.mine, self.theirs, done.one.heard, done.results[0]
        return self.theirs, self.mine, done.other.heard, done.results[1]

    @pytest.mark.parametrize(("side", "learns"), CASES)
    def test_shape_and_output_are_simulated(self, side, learns):
        ids, others, heard, output = self.side(side, learns)
        tape = Tape()
        messages = self.simulate(side, learns, len(ids), output, len(others), tape)
        assert sizes(messages) == sizes(heard)
        role = getattr(ecdh_psi, side)
        found, _ = replay(lambda peer: role(peer, ids, "plain", learns=learns, random=tape.again()), messages)
        np.testing.assert_array_equal(found, output)

    def points(self, run, kind, field):
        return np.concatenate([getattr(kinds(run(), kind)[0], field) for _ in range(self.runs)])

    def heard_simulated(self, side, learns):
        own, others = (self.mine, self.theirs) if side == "receiver" else (self.theirs, self.mine)
        return self.simulate(side, learns, len(own), 12 if learns == "size" else np.arange(12), len(others), Tape())

    @pytest.mark.parametrize(("side", "learns"), CASES)
    @pytest.mark.parametrize(("kind", "field"), [(ecdh_psi.Masked, "points"), (ecdh_psi.Doubled, "tags")])
    def test_masked_fields_are_uniform_really_and_simulated(self, side, learns, kind, field):
        runs = [lambda: self.side(side, learns)[2], lambda: self.heard_simulated(side, learns)]
        if kind is ecdh_psi.Doubled and side == "sender" and learns != "both":
            assert [kinds(run(), kind) for run in runs] == [[], []]
            return
        for run in runs:
            values = self.points(run, kind, field)
            assert uniform(values, 248 if field == "points" else 8 * values.shape[1])

    @pytest.mark.parametrize("side", ["receiver", "sender"])
    def test_without_the_mask_the_test_fails(self, side, monkeypatch):
        monkeypatch.setattr(ecdh_psi.Key, "times", lambda self, points, *_, **__: points)
        for kind, field in ((ecdh_psi.Masked, "points"), (ecdh_psi.Doubled, "tags")):
            assert not uniform(self.points(lambda: self.side(side, "both")[2], kind, field), 40)

    def test_with_a_key_used_twice_the_test_fails(self, monkeypatch):
        secret = ecdh_psi.Key()._scalar
        monkeypatch.setattr(ecdh_psi.Key, "__init__", lambda self, _: setattr(self, "_scalar", secret))
        assert not uniform(self.points(lambda: self.side("receiver", "both")[2], ecdh_psi.Masked, "points"), 248)

    def places(self):
        """Where one common person of the sender stands in the list that the receiver hears, over many runs."""
        places = []
        for _ in range(80):
            tape = Tape()
            done = self.real(tape=tape)
            key = ecdh_psi.Key(tape.again())
            tags = kinds(done.one.heard, ecdh_psi.Doubled)[0].tags
            doubled = tags_of(key.times(kinds(done.one.heard, ecdh_psi.Masked)[0].points), tags.shape[1])
            order = ecdh_psi.secret_order(len(self.mine), SkipKey(tape))
            tag = tags[int(np.flatnonzero(order == 20)[0])]
            places.append([row.tobytes() for row in doubled].index(tag.tobytes()))
        return np.bincount(np.array(places) // 6, minlength=5)

    def test_the_place_of_a_common_person_is_random(self):
        assert scipy.stats.chisquare(self.places()).pvalue > CONFIDENCE

    def test_without_the_shuffle_the_place_is_not_random(self, monkeypatch):
        monkeypatch.setattr(ecdh_psi, "secret_order", lambda count, random: np.arange(count))
        assert scipy.stats.chisquare(self.places()).pvalue < CONFIDENCE

    def returned(self):
        """Where the answer to the receiver's first point stands in what it hears when it may learn the size only."""
        places = []
        for _ in range(80):
            tape = Tape()
            done = self.real("size", other_tape=tape)
            tags = kinds(done.one.heard, ecdh_psi.Doubled)[0].tags
            first = kinds(done.other.heard, ecdh_psi.Masked)[0].points[:1]
            tag = tags_of(ecdh_psi.Key(tape.again()).times(first), tags.shape[1])[0]
            places.append([row.tobytes() for row in tags].index(tag.tobytes()))
        return np.bincount(np.array(places) // 6, minlength=4)

    def test_the_place_of_an_answer_is_random_where_the_size_only_is_learnt(self):
        assert scipy.stats.chisquare(self.returned()).pvalue > CONFIDENCE

    def test_without_the_shuffle_of_answers_their_place_tells_whose_they_are(self, monkeypatch):
        monkeypatch.setattr(ecdh_psi, "secret_order", lambda count, random: np.arange(count))
        assert scipy.stats.chisquare(self.returned()).pvalue < CONFIDENCE


class SkipKey:
    """The tape after the key has been read from it."""

    def __init__(self, tape):
        self.tape = tape.again()
        self.tape(32)

    def __call__(self, count):
        return self.tape(count)


@pytest.fixture(scope="module")
def key():
    return paillier_histogram.Key(2048)


class TestPaillierHistogram:
    """The histogram alone: what the matrix holder hears, and what the vector holder hears."""

    shape = Shape(samples=9, features=2, width=3, bound=127)
    matrix = BinMatrix(np.array([[0, 1, 2, 0, 1, 2, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0, 2]], dtype=np.uint8), 3)
    vectors = np.array([[1, -2, 3, 0, 0, 127, -127, 5, 0], [9, 0, 0, 0, 1, 1, 1, 0, 0]])

    def real(self, key):
        def vectors(peer):
            return paillier_histogram.VectorHolder(peer, self.shape, key).sums(self.vectors)

        def matrix(peer):
            paillier_histogram.MatrixHolder(peer, self.matrix, self.shape.bound, key.bits).answer(len(self.vectors))

        return converse(vectors, matrix)

    def simulate_for_matrix_holder(self, key_bits):
        """From public sizes alone: encryptions of zero under a key of the simulator's own."""
        key = paillier_histogram.Key(key_bits)
        zeros = paillier_histogram._encrypt([0] * self.shape.samples, key.primes)
        return [
            paillier_histogram.PublicKey(int(key.public.n).to_bytes(key_bits // 8, "big")),
            paillier_histogram.Ciphertexts(paillier_histogram._as_array(zeros, key_bits // 4)),
        ]

    def simulate_for_vector_holder(self, key, sums):
        """From the declared output: its fresh encryption under the receiver's own key."""
        packing = Packing.of(self.shape, key.bits)
        count = len(sums)
        rows = sums.reshape(count, -1).T
        together = packing.bins_together(count)
        plain = [
            sum(int(v) << (packing.bits * k) for k, v in enumerate(rows[at : at + together].ravel()))
            for at in range(0, len(rows), together)
        ]
        made = paillier_histogram._encrypt(plain, key.primes)
        return [paillier_histogram.PackedSums(paillier_histogram._as_array(made, key.bits // 4))]

    def test_shapes_and_outputs_are_simulated(self, key):
        done = self.real(key)
        sums = done.results[0]
        np.testing.assert_array_equal(sums, self.matrix.times(self.vectors))
        assert sizes(self.simulate_for_matrix_holder(key.bits)) == sizes(done.other.heard)
        simulated = self.simulate_for_vector_holder(key, sums)
        assert sizes(simulated) == sizes(done.one.heard)
        found, _ = replay(
            lambda peer: paillier_histogram.VectorHolder(peer, self.shape, key).sums(self.vectors), simulated
        )
        np.testing.assert_array_equal(found, sums)

    def ciphertexts(self, heard, runs=6):
        return np.concatenate([kinds(heard(), paillier_histogram.Ciphertexts)[0].values for _ in range(runs)])

    def test_ciphertexts_are_uniform_really_and_simulated(self, key):
        judged = key.bits * 2 - 64
        assert uniform(self.ciphertexts(lambda: self.real(key).other.heard), judged)
        assert uniform(self.ciphertexts(lambda: self.simulate_for_matrix_holder(key.bits)), judged)

    def test_without_the_mask_of_the_vectors_the_test_fails(self, key, monkeypatch):
        monkeypatch.setattr(paillier_histogram, "_residue", lambda *_: 1)
        assert not uniform(self.ciphertexts(lambda: self.real(key).other.heard), key.bits * 2 - 64)

    def ratios(self, key, answer, said):
        """What is left of each answer when the part is divided out that the vector holder could compute itself, if it
        knew the matrix: with the mask a uniform residue, without it the constant 1, which confirms the matrix."""
        n2 = int(key.public.nsquare)
        sent = paillier_histogram._as_integers(kinds(said, paillier_histogram.Ciphertexts)[0].values)
        peer = Peer(LocalLink.pair()[0], "nobody")
        bins = paillier_histogram._bin_products(sent, self.matrix, n2, peer)
        packing = Packing.of(self.shape, key.bits)
        together = packing.bins_together(len(self.vectors))
        found = []
        for at, value in zip(range(0, len(bins), together), paillier_histogram._as_integers(answer), strict=True):
            known = 1
            for one in reversed(bins[at : at + together]):
                known = pow(known, 1 << (packing.bits * len(self.vectors)), n2) * one % n2
            found.append(value * pow(known, -1, n2) % n2)
        return paillier_histogram._as_array(found, key.bits // 4)

    def answers(self, key, runs, simulated=False):
        found = []
        for _ in range(runs):
            done = self.real(key)
            answer = done.one.heard[0]
            if simulated:
                (answer,) = self.simulate_for_vector_holder(key, done.results[0])
            found.append(self.ratios(key, answer.values, done.one.said))
        return np.concatenate(found)

    def test_answers_are_masked_really_and_simulated(self, key):
        judged = key.bits * 2 - 64
        assert uniform(self.answers(key, 8), judged)
        assert uniform(self.answers(key, 8, simulated=True), judged)

    def test_without_the_mask_of_the_answer_the_test_fails(self, key, monkeypatch):
        right = paillier_histogram.secrets.randbelow
        monkeypatch.setattr(
            paillier_histogram,
            "secrets",
            SimpleNamespace(randbelow=lambda most: 0 if most == int(key.public.n) - 1 else right(most)),
        )
        assert not uniform(self.answers(key, 3), key.bits * 2 - 64)


class TestBoosting:
    """A whole training: each side's transcript from its own input, its declared output and the public sizes."""

    parameters = BoostingParameters(trees=2, max_depth=2, max_bin=3)
    rows = 24
    draw = np.random.default_rng(4)
    mine, theirs = draw.normal(size=(rows, 1)), draw.normal(size=(rows, 3))
    labels = (mine[:, 0] + theirs[:, 0] - theirs[:, 1] > 0).astype(float)
    part = np.where(np.arange(rows) % 4 == 0, TEST, TRAIN).astype(np.uint8)
    blinding = np.array([2, 0, 1])

    def training(self, key):
        self.sides = []  # of every level: the split that concerns each row, how many the peer has, what is declared
        return converse(self.active_role(key), self.passive_role(key.bits))

    @pytest.fixture(autouse=True)
    def recorded(self, monkeypatch):
        right = boosting.learn_sides

        def recording(ot, concerned, splits):
            self.sides.append((concerned, splits, right(ot, concerned, splits)))
            return self.sides[-1][2]

        self.sides = []
        monkeypatch.setattr(boosting, "learn_sides", recording)

    def active_role(self, key):
        def one(peer):
            engine = lambda peer, shape: paillier_histogram.VectorHolder(peer, shape, key)  # noqa: E731
            partners = [Partner(peer)]
            sources = [DealtReceiver(SEED)]
            return list(active(partners, engine, self.mine, self.labels, self.part, self.parameters, sources=sources))

        return one

    def passive_role(self, bits):
        def other(peer):
            engine = lambda peer, matrix, shape: paillier_histogram.MatrixHolder(peer, matrix, shape.bound, bits)  # noqa: E731
            source = DealtSender(SEED)
            return list(passive(peer, engine, self.theirs, self.parameters, blinding=self.blinding, source=source))

        return other

    def simulate_for_passive(self, splits, states, bits):
        """From its own columns, the split of the rows, its winning splits level by level, and when training stopped.

        `splits`: for each tree and level what the table grants: nodes, columns, bins, missing directions.
        """
        key = paillier_histogram.Key(bits)
        samples = int((self.part == TRAIN).sum())
        messages = [
            boosting.Terms(self.part, 0, 1),
            paillier_histogram.PublicKey(int(key.public.n).to_bytes(bits // 8, "big")),
        ]
        for tree, levels in enumerate(splits):
            for won in levels:
                zeros = paillier_histogram._encrypt([0] * samples, key.primes)
                messages += [paillier_histogram.Ciphertexts(paillier_histogram._as_array(zeros, bits // 4)), won]
                if count := len(won.nodes):
                    size = packed_size(self.rows, count.bit_length())
                    messages.append(MaskedChoices(np.frombuffer(os.urandom(size), dtype=np.uint8)))
            messages.append(boosting.Next(int(tree + 1 < len(splits)), states[tree].kept))
        return messages

    def test_the_passive_party_hears_what_its_simulator_makes(self, key):
        done = self.training(key)
        won = kinds(done.other.heard, boosting.Winners)
        depth = self.parameters.max_depth
        splits = [won[at : at + depth] for at in range(0, len(won), depth)]
        states = done.results[1]
        simulated = self.simulate_for_passive(splits, states, key.bits)
        assert sizes(simulated) == sizes(done.other.heard)
        assert sum(len(one.nodes) for one in won) > 0
        again, _ = replay(self.passive_role(key.bits), simulated)
        assert encode(again[-1]) == encode(states[-1])

    def test_the_active_party_hears_what_its_simulator_makes(self, key):
        """From its own input, its correlations, the declared bin sums of each level, and the bits of the rows in the
        nodes of the splits that the peer won."""
        done = self.training(key)
        declared_sides = iter(self.simulate_sides(self.sides))
        samples = int((self.part == TRAIN).sum())
        shape = Shape(samples, self.theirs.shape[1], self.parameters.max_bin + 1, self.parameters.bound)
        histogram = TestPaillierHistogram()
        histogram.shape = shape
        packing = Packing.of(shape, key.bits)
        simulated = [boosting.Columns(self.theirs.shape[1], 0)]
        sums = iter(kinds(done.one.heard, paillier_histogram.PackedSums))
        counts = [2, 2] * self.parameters.trees
        for count in counts:
            opened = paillier_histogram._decrypt(paillier_histogram._as_integers(next(sums).values), key.primes)
            declared = packing.unpack(opened, count, shape)
            simulated += [*histogram.simulate_for_vector_holder(key, declared), *next(declared_sides)]
        assert any(isinstance(message, MaskedTables) for message in simulated)
        assert sizes(simulated) == sizes(done.one.heard)
        again, _ = replay(self.active_role(key), simulated)
        assert encode(again[-1]) == encode(done.results[0][-1])

    def simulate_sides(self, levels):
        """For each level the message that tells the declared bits: all other entries are drawn."""
        source, first = DealtReceiver(SEED), FIRST
        for concerned, splits, declared in levels:
            if splits == 0:
                yield []
                continue
            _, words = source.take(self.rows, splits.bit_length())
            pads = pads_of(words, first).view(np.uint8)[:, 0] & 1
            entries = np.random.default_rng().integers(0, 2, (self.rows, splits + 1), dtype=np.uint8)
            entries[np.arange(self.rows), concerned + 1] = pads ^ declared
            yield [MaskedTables(_native.pack_bits(entries.ravel(), 1))]
            first += self.rows

    def test_rows_elsewhere_are_not_asked_about(self, key):
        """Rows in nodes whose split the peer did not win choose the empty entry."""
        owners = self.training(key).results[0][-1].owner
        assert sum(splits for _, splits, _ in self.sides) == np.count_nonzero(owners == 1) > 0
        told = [(concerned == NOWHERE, declared) for concerned, splits, declared in self.sides if splits]
        assert any(elsewhere.any() for elsewhere, _ in told)
        assert not any(declared[elsewhere].any() for elsewhere, declared in told)

    def test_nodes_that_end_early_are_padded(self, key):
        """The number and size of gradient frames depends on depth and trees alone, not on how deep the trees grew."""
        shapes = []
        for gamma in (0.0, 1e6):
            case = TestBoosting()
            case.parameters = BoostingParameters(trees=2, max_depth=2, max_bin=3, gamma=gamma)
            shapes.append([frame for frame in sizes(case.training(key).other.heard) if frame[0] == "Ciphertexts"])
        assert shapes[0] == shapes[1]

    def test_scoring_tells_the_active_party_bits_and_the_passive_party_nothing(self, key):
        done = self.training(key)
        names = (["a"], ["x", "y", "z"])
        one = boosting.active_half(done.results[0][-1], names[0], "m", "one", ["other"])
        other = boosting.passive_half(done.results[1][-1], names[1], "m", "other", "one")
        scored = converse(
            lambda peer: active_score([Partner(peer)], one, self.mine),
            lambda peer: passive_score(peer, other, self.theirs),
        )
        splits = len(other.splits)
        assert scored.other.heard == []
        assert sizes(scored.one.heard) == sizes([boosting.Routes(np.zeros((splits, self.rows // 8), dtype=np.uint8))])
        np.testing.assert_allclose(scored.results[0], done.results[0][-1].margin, rtol=1e-12)


class TestJob:
    """A whole job between two parties: the shape of what each hears follows from public sizes and declared outcomes."""

    rows, outsiders, used = 40, 7, 30
    job = Job(
        name="shape",
        active="regulator",
        passive=("bank",),
        rows={"test": 0.2, "limit": used},
        boosting={"trees": 2, "max_depth": 2, "max_bin": 4, "min_child_weight": 0.1},
        engine={"name": "plaintext"},
        compare_alone=False,
    )

    def run(self, seed):
        draw = np.random.default_rng(seed)
        ids = [f"{place:03d}" for place in range(self.rows + self.outsiders)]
        risk = draw.normal(size=len(ids))
        bank = pd.DataFrame({"id": ids, "x": risk, "y": draw.normal(size=len(ids))})
        regulator = pd.DataFrame({"id": ids, "a": draw.normal(size=len(ids)), "label": (risk > 0).astype(int)})
        return simulate(self.job, {"bank": bank, "regulator": regulator.head(self.rows)})

    @staticmethod
    def zeros(*shape, kind=np.int64):
        return np.zeros(shape, dtype=kind)

    def intersection(self, theirs, own):
        yield ecdh_psi.Agreed("both")
        yield ecdh_psi.SetSize(theirs)
        yield ecdh_psi.Masked(self.zeros(theirs, 32, kind=np.uint8))
        yield ecdh_psi.Doubled(self.zeros(own, set_items.tag_bytes(own + theirs), kind=np.uint8))

    def heard_by_active(self, wins):
        """From the sizes of both sets, the number of columns, and how many splits the bank won on each level."""
        held = self.rows + self.outsiders
        yield Standing(b"", -1)
        yield alignment.Offer(held, 0, 0, 0)
        yield from self.intersection(held, self.rows)
        yield boosting.Columns(2, 0)
        for _ in wins:
            yield plain_histogram.PlainSums(self.zeros(2, 2, 5))

    def heard_by_passive(self, wins, samples):
        """The same, and how many of the people used train."""
        yield Standing(b"", -1)
        yield Start(bytes(16), -1)
        yield alignment.Offer(self.rows, 0, 0, 1)
        yield alignment.Choice(1, 3, 0.0, 0.0)
        yield from self.intersection(self.rows, self.rows + self.outsiders)
        yield Sample(bytes(-(-self.rows // 8)))
        yield boosting.Terms(self.zeros(self.used, kind=np.uint8), 0, 1)
        for place, won in enumerate(wins):
            yield plain_histogram.PlainVectors(self.zeros(2, samples))
            four = (self.zeros(won), self.zeros(won), self.zeros(won), self.zeros(won, kind=np.uint8))
            yield boosting.Winners(*four)
            if place % self.job.boosting.max_depth == self.job.boosting.max_depth - 1:
                yield boosting.Next(1, 1)

    def routing(self, wins):
        """What each side hears of making correlations and of left and right, from the number of people used and how
        many splits the bank won on each level."""

        def one(peer):
            ot = Receiver(peer, SilentReceiver(peer, outputs=LEAST_OUTPUTS))
            return [learn_sides(ot, np.full(self.used, NOWHERE), won) for won in wins]

        def other(peer):
            ot = Sender(peer, SilentSender(peer, outputs=LEAST_OUTPUTS))
            return [tell_sides(ot, np.zeros((won, self.used), dtype=np.bool_)) for won in wins]

        talk = converse(one, other)
        return sizes(talk.one.heard), sizes(talk.other.heard)

    @pytest.mark.parametrize("seed", range(3))
    def test_each_side_hears_what_public_sizes_and_outcomes_say(self, seed):
        done = self.run(seed)
        frames = done.peers["bank"].transcript
        splits = done.passive["bank"].half.splits
        levels = [(tree, level) for tree in range(2) for level in range(2)]
        wins = [
            sum(split.tree == tree and (split.node + 1).bit_length() - 1 == level for split in splits)
            for tree, level in levels
        ]
        assert sum(wins) > 0
        samples = int((done.active.part == TRAIN).sum())
        heard = [(frame.kind, frame.size) for frame in frames if frame.direction == "received"]
        told = [(frame.kind, frame.size) for frame in frames if frame.direction == "sent"]
        by_active, by_passive = self.routing(wins)
        routing = {kind for kind, _ in by_active + by_passive}
        assert [frame for frame in heard if frame[0] in routing] == by_active
        assert [frame for frame in told if frame[0] in routing] == by_passive
        assert [frame for frame in heard if frame[0] not in routing] == sizes(self.heard_by_active(wins))
        assert [frame for frame in told if frame[0] not in routing] == sizes(self.heard_by_passive(wins, samples))
