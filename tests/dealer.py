"""Correlations from a dealer that both ends trust: two copies of one generator. For tests and for benchmarks that leave
the making of correlations out; never for a conversation, as either end could compute the other's secrets."""

import numpy as np
import numpy.typing as npt

from fedbank import _native
from fedbank.protocols.vole import Delta

Words = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]


def times_delta(u: Bytes, bits: int, delta: Delta) -> Words:
    """u Delta in GF(2^128), X^128 + X^7 + X^2 + X + 1, the bits of u being coefficients: uint64 (count, 2)."""
    product = np.zeros((len(u), 2), np.uint64)
    field = int.from_bytes(delta.value, "little")
    for bit in range(bits):
        power = np.array([field & (2**64 - 1), field >> 64], np.uint64)
        product ^= power * ((u >> bit) & 1).astype(np.uint64)[:, None]
        field <<= 1
        field ^= (1 << 128 | 0x87) * (field >> 128)
    return product


class Dealer:
    """What both ends draw from the same seed."""

    def __init__(self, seed: int):
        self._draw = np.random.default_rng(seed)
        self.delta = Delta(self._draw.bytes(16))

    def _deal(self, count: int, bits: int) -> tuple[Bytes, Words]:
        assert 1 <= bits <= 8
        own = self._draw.integers(0, 2**bits, count, dtype=np.uint8, endpoint=False)
        return own, self._draw.integers(0, 2**64, (count, 2), dtype=np.uint64)

    def _deal_field(self, count: int) -> tuple[Words, Words]:
        own, words = self._draw.integers(0, 2**64, (2, count, 2), dtype=np.uint64)
        return own, words


class DealtSender(Dealer):
    """The sender's end, with `delta`."""

    def take_field(self, count: int) -> Words:
        own, words = self._deal_field(count)
        return _native.add_scaled(words, own, self.delta.value, 1)

    def take(self, count: int, bits: int) -> Words:
        own, words = self._deal(count, bits)
        words ^= times_delta(own, bits, self.delta)
        return words


class DealtReceiver(Dealer):
    """The receiver's end."""

    def take_field(self, count: int) -> tuple[Words, Words]:
        return self._deal_field(count)

    def take(self, count: int, bits: int) -> tuple[Bytes, Words]:
        return self._deal(count, bits)


def pads_of(words: Words, first: int) -> Words:
    """The pads of transfers with the numbers `first` and up, uint64 (count, 2): 512 under each public key."""
    given = np.ascontiguousarray(words).view(np.uint8)
    parts = [
        _native.public_key_hash(given[at : at + 512], first + at, first + at, 1) for at in range(0, len(given), 512)
    ]
    return np.concatenate(parts).view(np.uint64)
