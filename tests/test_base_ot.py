"""Base oblivious transfers: keys, what each side hears, and peers that break the protocol."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from overhearing import kinds, overhear, replay, sizes

from fedbank.errors import PeerError
from fedbank.protocols import base_ot
from fedbank.protocols.base_ot import OfferKey, PublicPoints, chooser, offerer
from fedbank.talk.codec import encode

CONFIDENCE = 1e-6
PRIME = 2**255 - 19
# All u-coordinates of order 1, 2, 4 and 8 on the curve and its twist, also not reduced, with and without the top bit
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    PRIME - 1,
    PRIME,
    PRIME + 1,
]
SMALL_ORDER += [u + 2**255 for u in SMALL_ORDER]


def talk(choices: Any, **replaced: Any) -> Any:
    return overhear(
        lambda peer: chooser(peer, np.asarray(choices, dtype=np.uint8), **replaced),
        lambda peer: offerer(peer, len(choices)),
    )


def test_four_transfers() -> None:
    done = talk([0, 1, 1, 0])
    (chosen, seed), (both, other_seed) = done.left, done.right
    np.testing.assert_array_equal(chosen, both[np.arange(4), [0, 1, 1, 0]])
    assert len({key.tobytes() for key in both.reshape(-1, 16)}) == 8
    assert seed == other_seed
    assert len(seed) == 32


def test_keys_are_those_of_an_independent_library() -> None:
    """The offerer's keys from its secret, by `cryptography`'s X25519."""
    secret = bytes(range(32))
    peer_points = [X25519PrivateKey.generate().public_key() for _ in range(6)]
    points = np.frombuffer(b"".join(p.public_bytes_raw() for p in peer_points), dtype=np.uint8).reshape(3, 2, 32)
    (keys, _), peer = replay(lambda peer: offerer(peer, 3, random=lambda _: secret), [PublicPoints(points)])
    mine = X25519PrivateKey.from_private_bytes(secret)
    (offer,) = kinds(peer.said, OfferKey)
    assert offer.point.tobytes() == mine.public_key().public_bytes_raw()
    for place, point in enumerate(peer_points):
        shared = mine.exchange(X25519PublicKey.from_public_bytes(point.public_bytes_raw()))
        said = bytes([place % 2]) + offer.point.tobytes() + point.public_bytes_raw() + shared
        assert keys.reshape(-1, 16)[place].tobytes() == hashlib.sha256(base_ot.DOMAIN + said).digest()[:16]


def test_no_transfers() -> None:
    done = talk([])
    assert (len(done.left[0]), len(done.right[0])) == (0, 0)


def uniform(values: Any) -> bool:
    """Whether points look like independent uniform ones: none twice, no value of a byte preferred."""
    rows = values.reshape(-1, 32)
    counts = np.bincount(rows[:, :31].ravel(), minlength=256)
    distinct = len({row.tobytes() for row in rows}) == len(rows)
    return distinct and scipy.stats.chisquare(counts).pvalue > CONFIDENCE


def test_both_points_look_alike() -> None:
    """Simulated for the offerer by two random points a transfer; the place of the known one is the choice."""
    choices = np.random.default_rng(1).integers(0, 2, 400)
    (heard,) = kinds(talk(choices).right_peer.heard, PublicPoints)
    simulated = base_ot._random_points(np.random.default_rng(2).bytes, 800).reshape(400, 2, 32)
    assert sizes([heard]) == sizes([PublicPoints(simulated)])
    places = np.arange(400)
    for points in (heard.points, simulated):
        assert uniform(points[places, choices])
        assert uniform(points[places, 1 - choices])
    low, high = heard.points[places, choices, 0], heard.points[places, 1 - choices, 0]
    assert scipy.stats.ks_2samp(low, high).pvalue > CONFIDENCE


def test_a_point_that_is_not_random_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is the same every time gives the choice away."""
    monkeypatch.setattr(base_ot, "_random_points", lambda random, count: np.zeros((count, 32), dtype=np.uint8) + 9)
    (heard,) = kinds(talk(np.zeros(50)).right_peer.heard, PublicPoints)
    assert not uniform(heard.points[:, 1])


@pytest.mark.parametrize("u", SMALL_ORDER, ids=lambda u: f"{u:x}"[:6] + "-" + f"{u:x}"[-4:])
def test_a_point_of_small_order_is_refused(u: int, saying: Callable[..., Any]) -> None:
    """As the offer, and as either of one transfer's points among good ones."""
    bad = np.frombuffer(u.to_bytes(32, "little"), dtype=np.uint8)
    with pytest.raises(PeerError, match="with bank: a point of small order"):
        chooser(saying([OfferKey(bad)]), np.array([0, 1], dtype=np.uint8))
    for side in (0, 1):
        points = np.tile(base_ot.GENERATOR, (3, 2, 1))
        points[1, side] = bad
        with pytest.raises(PeerError, match="with bank: a point of small order"):
            offerer(saying([PublicPoints(points)]), 3)


def test_frames_that_are_not_as_agreed(saying: Callable[..., Any], spoil: Callable[[bytes], bytes]) -> None:
    for role, good in (
        (lambda peer: chooser(peer, np.array([1], dtype=np.uint8)), OfferKey(base_ot.GENERATOR)),
        (lambda peer: offerer(peer, 1), PublicPoints(np.tile(base_ot.GENERATOR, (1, 2, 1)))),
    ):
        with pytest.raises(PeerError, match="bank"):
            role(saying([spoil(encode(good))]))


def test_another_number_of_points_is_refused(saying: Callable[..., Any]) -> None:
    with pytest.raises(PeerError, match="PublicPoints"):
        offerer(saying([PublicPoints(np.tile(base_ot.GENERATOR, (3, 2, 1)))]), 2)
