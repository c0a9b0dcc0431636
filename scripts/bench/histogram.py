"""Private histograms by the hint method: exactness, and what one call costs beside Paillier and the plain sum.

Figures are CPU seconds of both parties in this process. `ns_per_cell_8_vectors` is the sum itself: eight vectors of
64-bit words over 1 M samples x 50 features x 33 bins, one thread. The Paillier engine packs g and h of *all* nodes of a
level in one plaintext, some seven times less work than a ciphertext a node; `phe_by_node` is that usual way, with phe's
own operations. Both are measured on few samples and scaled to 100,000 by two sizes, since they grow with the samples.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import phe.paillier
from common import Clock, Figures, main

from fedbank import _native
from fedbank.protocols import paillier_histogram, private_histogram
from fedbank.protocols.histogram import BinMatrix, Ints, MatrixHolder, Shape, VectorHolder
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

SAMPLES, FEATURES, WIDTH, BOUND = 100_000, 20, 33, 2**15 - 1
DEPTH, TREES, SPREAD = 5, 8, 60
KEY_BITS = 2048
LEVELS = [2, *(2**level for level in range(1, DEPTH))]  # vectors of each level of a tree
NODES = sum(LEVELS) // 2


def bench(quick: bool) -> Figures:
    """Eight trees' histograms at 100 k x 20; Paillier on 20 and 60 (quick) or 100 and 400 samples."""
    figures = _hint() | _plain_sums() | _memory_traffic()
    small = (20, 60) if quick else (100, 400)
    per_tree = float(figures["hint_cpu_s_per_tree_amortised"])
    for name, cost in (("paillier_packed_by_level", _paillier), ("phe_by_node", _phe_by_node)):
        figures[f"{name}_cpu_s_per_tree"] = _scaled([(samples, cost(samples)) for samples in small])
        figures[f"cpu_ratio_{name}"] = float(figures[f"{name}_cpu_s_per_tree"]) / per_tree
    figures["cpu_ratio_paillier"] = figures["cpu_ratio_paillier_packed_by_level"]
    return figures


def _problem(samples: int, features: int = FEATURES) -> tuple[BinMatrix, list[Ints]]:
    """A matrix, and a tree's vectors by level: each is zero outside one node."""
    draw = np.random.default_rng(5)
    matrix = BinMatrix(draw.integers(0, WIDTH, (features, samples), dtype=np.uint8), WIDTH)
    levels = []
    for count in LEVELS:
        node = draw.integers(0, count, samples)
        vectors = draw.integers(-BOUND, BOUND + 1, (count, samples))
        levels.append(np.where(node == np.arange(count)[:, None] // 2 * 2, vectors, 0))
    return matrix, levels


def _hint() -> Figures:
    matrix, levels = _problem(SAMPLES)
    shape = Shape(SAMPLES, FEATURES, WIDTH, BOUND, TREES * sum(LEVELS))
    left, right = LocalLink.pair()
    peer, hint_s, passive_s = Peer(left, "bank"), [0.0], [0.0]

    def bank() -> None:
        begin = time.thread_time()
        holder: MatrixHolder = private_histogram.MatrixHolder(Peer(right, "regulator"), matrix, shape)
        hint_s[0] = time.thread_time() - begin
        for _ in range(TREES):
            for count in LEVELS:
                holder.answer(count)
        passive_s[0] = time.thread_time() - begin - hint_s[0]

    other, begin, exact = threading.Thread(target=bank), time.thread_time(), True
    other.start()
    holder: VectorHolder = private_histogram.VectorHolder(peer, shape)
    found = [holder.sums(vectors) for _ in range(TREES) for vectors in levels]
    active_s = time.thread_time() - begin
    other.join()
    for sums, vectors in zip(found, levels * TREES, strict=True):
        exact &= bool(np.array_equal(sums, matrix.times(vectors)))
    return {
        "exact": int(exact),
        "hint_once_s": hint_s[0],
        "hint_active_cpu_s_per_tree": active_s / TREES,
        "hint_passive_cpu_s_per_tree": passive_s[0] / TREES,
        "hint_cpu_s_per_tree": (active_s + passive_s[0]) / TREES,
        "hint_cpu_s_per_tree_amortised": (active_s + passive_s[0]) / TREES + hint_s[0] / SPREAD,
        "hint_mb_per_tree": peer.bytes_moved / TREES / 1e6,
    }


def _plain_sums() -> Figures:
    """Eight vectors at once over 1 M x 50, by each instruction set of this machine."""
    samples, features = 1_000_000, 50
    draw = np.random.default_rng(6)
    codes = draw.integers(0, WIDTH, (features, samples), dtype=np.uint8)
    words = draw.integers(0, 2**63, (8, samples)).astype(np.uint64)
    figures: Figures = {}
    for path in reversed(_native.paths()):
        _native.use(path)
        best = min(_cpu_of(lambda: _native.histogram(codes, WIDTH, words, 1)) for _ in range(3))
        figures[f"histogram_8_vectors_{path}_s"] = best
    figures["histogram_8_vectors_s"] = best
    figures["ns_per_cell_8_vectors"] = best / samples / features * 1e9
    return figures


def _memory_traffic() -> Figures:
    """The least that any histogram of eight vectors does: read every word once for every feature."""
    words = np.ones((8 * 4096,), dtype=np.uint64)
    turns = 1_000_000 // 4096 * 50
    read = min(_cpu_of(lambda: [words.sum() for _ in range(turns // 50)]) * 50 for _ in range(3))
    return {"read_words_once_a_feature_s": read}


def _cpu_of(work: object) -> float:
    begin = time.process_time()
    work()  # type: ignore[operator]
    return time.process_time() - begin


def _paillier(samples: int) -> float:
    """CPU seconds of a tree's histograms by the product's Paillier engine."""
    matrix, levels = _problem(samples)
    shape = Shape(samples, FEATURES, WIDTH, BOUND)
    key, clock = paillier_histogram.Key(KEY_BITS), Clock()
    left, right = LocalLink.pair()

    def bank() -> None:
        holder = paillier_histogram.MatrixHolder(Peer(right, "regulator"), matrix, BOUND, KEY_BITS)
        for count in LEVELS:
            holder.answer(count)

    with clock():
        other = threading.Thread(target=bank)
        other.start()
        holder = paillier_histogram.VectorHolder(Peer(left, "bank"), shape, key)
        for vectors in levels:
            holder.sums(vectors)
        other.join()
    return clock.cpu_s


def _phe_by_node(samples: int) -> float:
    """CPU seconds of the growing part of the usual way: one ciphertext a sample and node, added up by bin."""
    public, _ = phe.paillier.generate_paillier_keypair(n_length=KEY_BITS)
    codes = _problem(samples)[0].codes.tolist()
    clock = Clock()
    with clock():
        values = [public.encrypt((value << 64) + 1) for value in range(samples)]
        bins = [[public.encrypt(0, r_value=1) for _ in range(WIDTH)] for _ in codes]
        for column, sums in zip(codes, bins, strict=True):
            for value, code in zip(values, column, strict=True):
                sums[code] = sums[code] + value
    return clock.cpu_s * NODES


def _scaled(measured: list[tuple[int, float]]) -> float:
    """Seconds at 100,000 samples from two smaller sizes, linearly."""
    (fewer, less), (more, longer) = measured
    slope = (longer - less) / (more - fewer)
    return less + slope * (SAMPLES - fewer)


if __name__ == "__main__":
    main(bench, __doc__ or "")
