"""Multiplications on Curve25519 and hashes per CPU second, by instruction set, beside X25519 of `cryptography`."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import numpy as np
from common import Clock, Figures, main
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedbank import _native
from fedbank.protocols.hash_to_curve import hash_all_to_u

DOMAIN = b"benchmark of fedbank, curve25519_XMD:SHA-512_ELL2_RO_"


def bench(quick: bool) -> Figures:
    """Rates on one thread: medians over rounds in which all take turns, so that all meet the same machine."""
    count = 2**10 if quick else 2**13
    points = np.frombuffer(os.urandom(32 * count), np.uint8).reshape(count, 32)
    keys = [point.tobytes() for point in points]
    ids = [b"%018d" % number for number in range(count)]
    scalar = bytes([*os.urandom(31), 64])
    key = X25519PrivateKey.generate()

    def on(path: str, work: Callable[[], object]) -> Callable[[], object]:
        return lambda: (_native.use(path), work())

    works: dict[str, Callable[[], object]] = {
        "cryptography_x25519": lambda: [key.exchange(X25519PublicKey.from_public_bytes(one)) for one in keys]
    }
    for path in _native.paths():
        works[f"{path}_multiplications"] = on(path, lambda: _native.curve_multiply(scalar, points, 1))
        works[f"{path}_hashes"] = on(path, lambda: hash_all_to_u(ids, DOMAIN, threads=1))
    fastest = _native.paths()[0]
    rates = _rates(works, count, 5 if quick else 7)
    figures: Figures = {"items": count, "path": fastest}
    figures |= {f"{name}_per_cpu_s": rate for name, rate in rates.items()}
    figures["x25519_rate_ratio"] = rates[f"{fastest}_multiplications"] / rates["cryptography_x25519"]
    figures["hash_cost_in_multiplications"] = rates[f"{fastest}_multiplications"] / rates[f"{fastest}_hashes"]
    _native.use(fastest)
    return figures


def _rates(works: dict[str, Callable[[], object]], count: int, rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            clock = Clock()
            with clock():
                work()
            seconds[name].append(clock.cpu_s)
    return {name: count / statistics.median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    main(bench, __doc__ or "")
