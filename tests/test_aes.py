"""AES-128 and the hash with a fixed key, on every path of this machine: FIPS 197's vectors, and the library's AES."""

from collections.abc import Iterator

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB

from fedbank import _native

PI = bytes.fromhex("243f6a8885a308d313198a2e03707344")  # the first 16 bytes of the fraction of pi
COUNTS = [0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 100]
# FIPS 197, appendices B and C.1: key, plaintext, ciphertext
FIPS_197 = [
    ("2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"),
    ("000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
]


@pytest.fixture(scope="module", params=_native.paths(), autouse=True)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one that was in use is in use again afterwards."""
    first = _native.path()
    _native.use(request.param)
    yield request.param
    _native.use(first)


def blocks(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16), dtype=np.uint8)


def library(key: bytes, given: np.ndarray) -> np.ndarray:
    done = Cipher(AES128(key), ECB()).encryptor().update(given.tobytes())  # noqa: S305 - one block at a time is meant
    return np.frombuffer(done, np.uint8).reshape(-1, 16)


def test_the_portable_path_is_portable(instruction_set: str) -> None:
    assert (_native.aes_path() == "portable") <= (instruction_set == "portable" or len(_native.paths()) < 3)


@pytest.mark.parametrize(("key", "plain", "cipher"), FIPS_197)
def test_vectors_of_the_standard(key: str, plain: str, cipher: str) -> None:
    given = np.tile(np.frombuffer(bytes.fromhex(plain), np.uint8), (9, 1))
    found = _native.aes_encrypt(bytes.fromhex(key), given)
    assert [one.tobytes().hex() for one in found] == [cipher] * 9


@pytest.mark.parametrize("count", COUNTS)
def test_any_number_of_blocks_and_any_key(count: int) -> None:
    for seed in range(5):
        key = blocks(1, 1000 + seed).tobytes()
        assert np.array_equal(_native.aes_encrypt(key, blocks(count, seed)), library(key, blocks(count, seed)))


@pytest.mark.parametrize("repeat", [1, 3, 32])
@pytest.mark.parametrize("count", COUNTS)
def test_the_hash_is_that_of_the_paper(count: int, repeat: int) -> None:
    given, tweak = blocks(count), 2**64 - 20  # the tweak counts past the end of its 64 bits and begins again
    tweaks = np.zeros((count, 2), np.uint64)
    tweaks[:, 0] = np.uint64(tweak) + (np.arange(count) // repeat).astype(np.uint64)
    once = library(PI, given)
    expected = library(PI, once ^ tweaks.view(np.uint8).reshape(-1, 16)) ^ once
    assert np.array_equal(_native.public_key_hash(given, 0, tweak, repeat), expected)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="have 16 bytes"):
        _native.aes_encrypt(bytes(15), blocks(1))
    with pytest.raises(ValueError, match="have 16 bytes"):
        _native.aes_encrypt(bytes(16), np.zeros((1, 17), np.uint8))
    with pytest.raises(ValueError, match="one at least"):
        _native.public_key_hash(blocks(1), 0, 0, 0)
