"""Hash byte strings to points of Curve25519: RFC 9380, suite `curve25519_XMD:SHA-512_ELL2_RO_`.

Only u-coordinates leave this file: that is all X25519 needs. (A hash used directly as a u-coordinate would land on the
curve or on its twist, and tell which.) Steps, with the sections of RFC 9380 they follow:

1. `expand_message_xmd` with SHA-512 (5.3.1) gives 96 bytes, reduced to two field elements (5.2).
2. `map_to_curve_elligator2_curve25519` (6.7.1, with Z = 2) sends each to a point.
3. The points are added, and the sum multiplied by the cofactor 8 (section 7): a point of the prime-order subgroup.

The core does all of it for many messages at once (`fedbank/native/curve_body.hpp`), in a time that depends on how long
the messages are, not on what they say.
Tests: `tests/test_hash_to_curve.py`, against the vectors of the RFC and two slow implementations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedbank import _native
from fedbank.errors import UsageError

__all__ = ["hash_all_to_u", "hash_to_u"]


def hash_to_u(message: bytes, domain: bytes) -> bytes:
    """Return the u-coordinate (32 bytes, little endian) of the point that `message` hashes to.

    Parameters
    ----------
    message : what to hash
    domain : the domain separation tag, 1 to 255 bytes; another tag gives an independent hash

    Raises
    ------
    UsageError : the tag is empty or too long

    Examples
    --------
    >>> hash_to_u(b"", b"QUUX-V01-CS02-with-curve25519_XMD:SHA-512_ELL2_RO_")[::-1].hex()[:16]
    '2de3780abb67e861'
    """
    return hash_all_to_u([message], domain, threads=1).tobytes()


def hash_all_to_u(messages: Sequence[bytes], domain: bytes, *, threads: int) -> np.ndarray:
    """Return the u-coordinates of many messages, uint8 (messages, 32), each as `hash_to_u` gives it.

    Parameters
    ----------
    messages : what to hash, each of any length
    domain : the domain separation tag, 1 to 255 bytes
    threads : how many threads may compute

    Raises
    ------
    UsageError : the tag is empty or too long
    """
    if not 1 <= len(domain) <= 255:
        raise UsageError(f"A domain separation tag has 1 to 255 bytes, found {len(domain)}.")
    offsets = np.cumsum([0, *map(len, messages)], dtype=np.int64)
    return _native.hash_to_curve(np.frombuffer(b"".join(messages), np.uint8), offsets, domain, threads)
