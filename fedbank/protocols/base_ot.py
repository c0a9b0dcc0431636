"""Base oblivious transfers by Diffie-Hellman: of two random keys, the chooser gets the one it chooses.

All points are u-coordinates of Curve25519's prime-order subgroup.

1. For each transfer with choice c: P_c = x * G with a fresh secret x; P_(1-c) = a fresh random string hashed to the
   curve, whose logarithm nobody knows. chooser -> offerer: P_0, P_1.
2. offerer -> chooser: Y = y * G. The keys are k_b = SHA-256(b, Y, P_b, y * P_b); the chooser computes k_c, as
   y * P_c = x * Y.

Who learns what
---------------
chooser : its key of each pair; of the other key nothing (computational Diffie-Hellman, SHA-256 a random oracle)
offerer : both keys; of the choice nothing: P_0 and P_1 are distributed alike

Assumptions: semi-honest parties (a chooser that knew both logarithms would get both keys). Source: Bellare and Micali
1989, with a random point in place of the one that the offerer fixes (endemic transfers: Masny and Rindal 2019, eprint
2019/706). Held by `tests/test_base_ot.py` and `tests/test_vole_roles.py`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.errors import PeerError
from fedbank.talk.codec import U8, Message
from fedbank.talk.peer import Peer

__all__ = ["OfferKey", "PublicPoints", "chooser", "offerer"]

DOMAIN = b"fedbank-base-ot-v1-with-curve25519_XMD:SHA-512_ELL2_RO_"
KEY = 16
POINT = 32
GENERATOR = np.frombuffer(bytes([9]) + bytes(31), dtype=np.uint8)

Bytes = npt.NDArray[np.uint8]
Random = Callable[[int], bytes]


@dataclass(frozen=True, repr=False)
class PublicPoints(Message):
    """Chooser -> offerer: two points a transfer, (count, 2, 32); reveals: nothing, both are uniform."""

    points: U8


@dataclass(frozen=True, repr=False)
class OfferKey(Message):
    """Offerer -> chooser: y * G, (32,); reveals: a public key."""

    point: U8


def chooser(peer: Peer, choices: Bytes, *, random: Random = os.urandom) -> tuple[Bytes, bytes]:
    """Get one key of each pair.

    Parameters
    ----------
    choices : uint8 (count,), 0 or 1

    Returns
    -------
    keys : uint8 (count, 16)
    seed : 32 public bytes to which both sides contributed

    Raises
    ------
    PeerError
        The offerer's point has small order.
    """
    count = len(choices)
    secrets = _scalars(random, count)
    points = np.empty((count, 2, POINT), dtype=np.uint8)
    rows = np.arange(count)
    points[rows, choices] = _native.curve_multiply_each(secrets, np.tile(GENERATOR, (count, 1)), 1)
    points[rows, 1 - choices] = _random_points(random, count)
    peer.send(PublicPoints(points))
    offer = peer.receive(OfferKey, point=(POINT,)).point
    shared = _checked(peer, _native.curve_multiply_each(secrets, np.tile(offer, (count, 1)), 1))
    return _keys(offer, points[rows, choices], choices, shared), _seed(points, offer)


def offerer(peer: Peer, count: int, *, random: Random = os.urandom) -> tuple[Bytes, bytes]:
    """Get both keys of each pair, uint8 (count, 2, 16), and the public seed; see `chooser`."""
    points = peer.receive(PublicPoints, points=(count, 2, POINT)).points
    secret = _scalars(random, 1)
    offer = _native.curve_multiply_each(secret, GENERATOR.reshape(1, POINT), 1)[0]
    peer.send(OfferKey(offer))
    shared = _checked(peer, _native.curve_multiply(secret.tobytes(), points.reshape(-1, POINT), 1))
    sides = np.tile(np.array([0, 1], dtype=np.uint8), count)
    return _keys(offer, points.reshape(-1, POINT), sides, shared).reshape(count, 2, KEY), _seed(points, offer)


def _scalars(random: Random, count: int) -> Bytes:
    """Secret scalars with the bits of RFC 7748, section 5: multiples of eight in [2^254, 2^255)."""
    scalars = np.frombuffer(random(POINT * count), dtype=np.uint8).reshape(count, POINT).copy()
    scalars[:, 0] &= 248
    scalars[:, 31] = (scalars[:, 31] & 127) | 64
    return scalars


def _random_points(random: Random, count: int) -> Bytes:
    data = np.frombuffer(random(POINT * count), dtype=np.uint8)
    return _native.hash_to_curve(data, np.arange(0, POINT * count + 1, POINT, dtype=np.int64), DOMAIN, 1)


def _checked(peer: Peer, shared: Bytes) -> Bytes:
    if not shared.any(axis=1).all():
        raise PeerError(f"Base transfers with {peer.name}: a point of small order, expected points of the group.")
    return shared


def _keys(offer: Bytes, points: Bytes, sides: Bytes, shared: Bytes) -> Bytes:
    """Hash every shared point with what was said about it: points are fresh, so no two transfers hash the same."""
    keys = [
        hashlib.sha256(DOMAIN + bytes([int(side)]) + offer.tobytes() + point.tobytes() + one.tobytes()).digest()[:KEY]
        for point, side, one in zip(points, sides, shared, strict=True)
    ]
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(points), KEY)


def _seed(points: Bytes, offer: Bytes) -> bytes:
    return hashlib.sha256(DOMAIN + b"seed" + offer.tobytes() + points.tobytes()).digest()
