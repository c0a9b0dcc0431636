"""Messages to bytes and back: every field type, every refusal, the bytes on the wire, and what `repr` shows."""

import dataclasses
import hashlib
import importlib
import pkgutil
import struct
import typing
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import fedbank
from fedbank.errors import PeerError, UsageError
from fedbank.models.logistic import LogisticTerms, PassiveBins
from fedbank.models.logistic_opening import OwnWeights, PartialScores
from fedbank.protocols.alignment import Choice, Offer
from fedbank.protocols.base_ot import OfferKey, PublicPoints
from fedbank.protocols.comparison import OpenedBits
from fedbank.protocols.ecdh_psi import Agreed, Doubled, Masked, SetSize
from fedbank.protocols.oblivious_transfer import MaskedChoices, MaskedTables
from fedbank.protocols.oprf_psi import Blinded, Evaluated, KeyTerms, Places, Query, TagFrame
from fedbank.protocols.paillier_histogram import Ciphertexts, PackedSums, PublicKey
from fedbank.protocols.plain_histogram import PlainSums, PlainVectors
from fedbank.protocols.plain_product import PlainFactors, PlainNumbers, PlainShare
from fedbank.protocols.private_histogram import (
    MaskedProducts,
    OuterPublicKey,
    SeedHalf,
    VectorSecrets,
    Words,
)
from fedbank.protocols.private_product import EncryptedNumbers, MaskedAnswers, ProductPublicKey
from fedbank.protocols.share_arithmetic import OpenedNumbers
from fedbank.protocols.vole import Extension, MaskedTrees, SeedSums
from fedbank.protocols.vole_psi import Bitmap, MaskedTable, Tags, VoleSeed, VoleSetSize
from fedbank.talk.codec import F64, I64, U8, Bound, Message, Most, decode, encode, kind_of, largest
from fedbank.talk.measure import LineAnswer, LineProbe, LineSpeed
from fedbank.talk.peer import Stopped
from fedbank.talk.session import Greeting


@dataclass(frozen=True, repr=False)
class Everything(Message):
    """A field of each type."""

    whole: int
    real: float
    text: str
    raw: bytes
    small: U8
    wide: I64
    reals: F64


VARIABLE = ("text", "raw", "small", "wide", "reals")
ARRAYS = ("small", "wide", "reals")
SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
MESSAGES = st.builds(
    Everything,
    whole=st.integers(-(2**63), 2**63 - 1),
    real=st.floats(),
    text=st.text(max_size=20),
    raw=st.binary(max_size=20),
    small=arrays("<u1", SHAPES),
    wide=arrays("<i8", SHAPES),
    reals=arrays("<f8", SHAPES),
)
ONE = Everything(
    -5, 0.25, "汇", b"\x00\xff", np.array([7], np.uint8), np.arange(6).reshape(2, 3), np.array([], np.float64)
)


def exact(message: Everything) -> dict[str, Bound]:
    shapes = {name: getattr(message, name).shape for name in ARRAYS}
    return {"text": len(message.text.encode()), "raw": len(message.raw), **shapes}


def loose(bounds: Mapping[str, Bound], more: int = 3) -> dict[str, Bound]:
    """The same bounds as upper bounds, with some room."""

    def widened(size: Any) -> Any:
        return tuple(map(widened, size)) if isinstance(size, tuple) else Most(size + more)

    return {name: widened(size) for name, size in bounds.items()}


# Round trip


@given(MESSAGES, st.booleans())
def test_what_is_decoded_is_what_was_encoded(message: Everything, known: bool) -> None:
    frame = encode(message)
    again = decode(Everything, frame, exact(message) if known else loose(exact(message)))
    assert (again.whole, again.text, again.raw) == (message.whole, message.text, message.raw)
    assert struct.pack("<d", again.real) == struct.pack("<d", message.real)  # NaN and -0.0 too
    for name in ARRAYS:
        before, after = getattr(message, name), getattr(again, name)
        assert (after.dtype, after.shape, after.tobytes()) == (before.dtype, before.shape, before.tobytes())
    assert encode(again) == frame


@given(MESSAGES)
def test_the_largest_frame_is_counted_exactly(message: Everything) -> None:
    assert largest(Everything, exact(message)) == len(encode(message))
    assert largest(Everything, loose(exact(message), 0)) == len(encode(message))
    assert largest(Everything, loose(exact(message), 1)) > len(encode(message))


def test_an_array_goes_out_in_c_order_whatever_its_layout() -> None:
    array = np.arange(12).reshape(3, 4)
    for view in (array.T, array[:, ::2], np.asfortranarray(array)):
        again = decode(PlainVectors, encode(PlainVectors(view)), {"vectors": view.shape})
        assert np.array_equal(again.vectors, view)


def test_a_decoded_array_cannot_be_written_to() -> None:
    again = decode(Masked, encode(Masked(np.zeros((1, 32), np.uint8))), {"points": (1, 32)})
    with pytest.raises(ValueError, match="read-only"):
        again.points[0, 0] = 1


# Refusals


@given(MESSAGES, st.data())
def test_a_truncated_frame_is_refused_wherever_it_is_cut(message: Everything, data: st.DataObject) -> None:
    frame = encode(message)
    cut = data.draw(st.integers(0, len(frame) - 1))
    for bounds in (exact(message), loose(exact(message))):
        with pytest.raises(PeerError):
            decode(Everything, frame[:cut], bounds)


@given(MESSAGES, st.binary(min_size=1, max_size=9))
def test_bytes_left_over_are_refused(message: Everything, more: bytes) -> None:
    frame = encode(message) + more
    with pytest.raises(PeerError, match=f"ends after {len(frame) - len(more)} bytes, found {len(frame)}"):
        decode(Everything, frame, loose(exact(message)))


@given(MESSAGES, st.data())
def test_a_damaged_frame_is_read_or_refused_but_never_crashes(message: Everything, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    for at in data.draw(st.lists(st.integers(8, len(frame) - 1), min_size=1, max_size=4)):
        frame[at] = data.draw(st.integers(0, 255))
    _read_or_refuse(bytes(frame), loose(exact(message)))


@given(st.binary(max_size=200))
def test_noise_is_read_or_refused_but_never_crashes(noise: bytes) -> None:
    _read_or_refuse(kind_of(Everything) + noise, loose(exact(ONE), 2**40))
    with pytest.raises(PeerError, match="expected Everything"):
        decode(Everything, noise, exact(ONE))


def _read_or_refuse(frame: bytes, bounds: Mapping[str, Bound]) -> None:
    try:
        message = decode(Everything, frame, bounds)
    except PeerError:
        return
    assert encode(message) == frame


def test_an_empty_array_of_impossible_shape_is_refused() -> None:
    shape = struct.pack("<B3Q", 3, 0, 2**40, 2**40)
    with pytest.raises(PeerError):
        decode(Masked, kind_of(Masked) + shape, {"points": (Most(2**40),) * 3})


def test_another_kind_and_an_unknown_one_are_told_apart() -> None:
    with pytest.raises(PeerError, match="expected Masked, found SetSize"):
        decode(Masked, encode(SetSize(1)), {"points": (1, 32)})
    with pytest.raises(PeerError, match="expected Masked, found an unknown kind"):
        decode(Masked, bytes(50), {"points": (1, 32)})


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(PeerError, match=r"Stopped\.step is not as agreed"):
        decode(Stopped, kind_of(Stopped) + struct.pack("<Q", 1) + b"\xff", {"step": 1})


@pytest.mark.parametrize("name", VARIABLE)
@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_than_agreed_is_refused_and_named(name: str, change: int) -> None:
    """Exact bounds refuse one item fewer and one more; upper bounds refuse one more."""
    bounds = exact(ONE)
    size = bounds[name]
    bounds[name] = _plus(size, -change)
    with pytest.raises(PeerError, match=rf"Everything\.{name} is not as agreed: expected"):
        decode(Everything, encode(ONE), bounds)
    if change == 1:
        with pytest.raises(PeerError, match=rf"Everything\.{name} is not as agreed: expected at most"):
            decode(Everything, encode(ONE), {**exact(ONE), **loose({name: bounds[name]}, 0)})


def _plus(size: Any, change: int) -> Any:
    return (*size[:-1], size[-1] + change) if isinstance(size, tuple) else size + change


@pytest.mark.parametrize("name", ARRAYS)
def test_another_number_of_dimensions_is_refused(name: str) -> None:
    bounds = exact(ONE)
    shape = typing.cast(tuple[int, ...], bounds[name])
    for other in ((*shape, 1), shape[:-1]):
        with pytest.raises(PeerError, match=rf"Everything\.{name} is not as agreed: expected {len(other)}, found"):
            decode(Everything, encode(ONE), {**bounds, name: other})


def test_a_size_is_refused_before_that_much_memory_is_taken() -> None:
    for bounds in ({"points": (Most(2**62), 32)}, {"points": (2**50, 32)}):
        claim = kind_of(Masked) + struct.pack("<BQQ", 2, 2**50, 32)
        with pytest.raises(PeerError, match=r"Masked\.points is not as agreed"):
            decode(Masked, claim, bounds)


@pytest.mark.parametrize("name", VARIABLE)
def test_a_missing_bound_is_the_callers_mistake(name: str) -> None:
    bounds = {field: size for field, size in exact(ONE).items() if field != name}
    with pytest.raises(UsageError, match=rf"Everything\.{name} has no bound"):
        largest(Everything, bounds)
    with pytest.raises(UsageError, match="has no bound"):
        decode(Everything, encode(ONE), bounds)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint64, ">i8"])
def test_an_array_of_another_type_is_the_callers_mistake(dtype: Any) -> None:
    with pytest.raises(UsageError, match="int64 was announced"):
        encode(PlainVectors(np.zeros((1, 1), dtype)))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_the_callers_mistake(number: int) -> None:
    with pytest.raises(UsageError):
        encode(SetSize(number))


# The bytes on the wire: a change here breaks conversations between releases, so it needs a new `session.VERSION`


WIRE: dict[type[Message], tuple[Message, str]] = {
    Stopped: (Stopped("align people"), "090a6cad284fdd970c00000000000000616c69676e2070656f706c65"),
    Greeting: (
        Greeting("fedbank", 1, "active", "regulator", "c0ffee"),
        "59a0a78e2ab4b253"
        "070000000000000066656462616e6b010000000000000006000000000000006163746976650900000000000000726567"
        "756c61746f720600000000000000633066666565",
    ),
    Agreed: (Agreed("both"), "880bf39582a7863f0400000000000000626f7468"),
    SetSize: (SetSize(4), "5daabf5490c9e4680400000000000000"),
    Masked: (
        Masked(np.arange(32, dtype=np.uint8).reshape(1, 32)),
        "412124e300319489"
        "0201000000000000002000000000000000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e"
        "1f",
    ),
    Doubled: (Doubled(np.array([[1, 2, 3]], np.uint8)), "2e8a0ab2919312dc0201000000000000000300000000000000010203"),
    KeyTerms: (
        KeyTerms(b"\x01\x02", 3, 4, 5),
        "f53a5cb85f898e1002000000000000000102030000000000000004000000000000000500000000000000",
    ),
    Query: (Query(1, 0, "both"), "1acb372900c33da9010000000000000000000000000000000400000000000000626f7468"),
    TagFrame: (
        TagFrame(np.array([[1, 2], [3, 4]], np.uint8)),
        "169434fbb012d0a5020200000000000000020000000000000001020304",
    ),
    Blinded: (Blinded(np.array([[1, 2]], np.uint8)), "e8b7bec702189e7602010000000000000002000000000000000102"),
    Evaluated: (Evaluated(np.array([[3, 4]], np.uint8)), "513fe5ede1e3fb4f02010000000000000002000000000000000304"),
    Places: (Places(np.array([1, 2])), "fcfd3d00743b0bb301020000000000000001000000000000000200000000000000"),
    PublicKey: (PublicKey(b"\x80\x01"), "79cfdfdd9b68e66d02000000000000008001"),
    Ciphertexts: (
        Ciphertexts(np.array([[1, 2], [3, 4]], np.uint8)),
        "88b6d236e47866f5020200000000000000020000000000000001020304",
    ),
    PackedSums: (PackedSums(np.array([[5, 6]], np.uint8)), "17808ec47267c7b002010000000000000002000000000000000506"),
    PlainVectors: (
        PlainVectors(np.array([[1, -2]])),
        "f1461f07e341e61702010000000000000002000000000000000100000000000000feffffffffffffff",
    ),
    PlainSums: (
        PlainSums(np.array([[[3], [-4]]])),
        "0b6572734322e397030100000000000000020000000000000001000000000000000300000000000000fcffffffffffffff",
    ),
    MaskedChoices: (MaskedChoices(np.array([1, 2], np.uint8)), "06967d79a2412b110102000000000000000102"),
    MaskedTables: (MaskedTables(np.array([1, 2], np.uint8)), "36c8bfac91bd40e60102000000000000000102"),
    OpenedBits: (OpenedBits(np.array([1, 2], np.uint8)), "6c28949b90818d740102000000000000000102"),
    OpenedNumbers: (
        OpenedNumbers(np.array([1, -2])),
        "2b42a4d7d31e6fbc0102000000000000000100000000000000feffffffffffffff",
    ),
    SeedHalf: (
        SeedHalf(b"\x01\x02"),
        "215dd6dde1cf471602000000000000000102",
    ),
    OuterPublicKey: (
        OuterPublicKey(b"\x01\x02", np.array([3, 4], np.uint8)),
        "bc14fff1fa901ea3020000000000000001020102000000000000000304",
    ),
    VectorSecrets: (
        VectorSecrets(b"\x01\x02", np.array([[3, 4]], np.uint8)),
        "6c76197f2cdb657f0200000000000000010202010000000000000002000000000000000304",
    ),
    MaskedProducts: (
        MaskedProducts(np.array([[1]], np.uint8), np.array([[2, 3]], np.uint8)),
        "5515647598dae5e102010000000000000001000000000000000102010000000000000002000000000000000203",
    ),
    Words: (
        Words(np.array([[[1, 2]]], np.uint8)),
        "3466baaa5fed2fab030100000000000000010000000000000002000000000000000102",
    ),
    Offer: (
        Offer(5, 1, 2, 1),
        "2099f5161a1f74130500000000000000010000000000000002000000000000000100000000000000",
    ),
    Choice: (
        Choice(2, 4, 0.5, 0.25),
        "9f5a6cf31583771402000000000000000400000000000000000000000000e03f000000000000d03f",
    ),
    LineProbe: (LineProbe(b"\0\0", 3), "5c678707356a4d38020000000000000000000300000000000000"),
    LineAnswer: (LineAnswer(b"\0"), "ba6184ef23d771c4010000000000000000"),
    PublicPoints: (
        PublicPoints(np.array([[[1], [2]]], np.uint8)),
        "aef0d79dc6275049030100000000000000020000000000000001000000000000000102",
    ),
    OfferKey: (OfferKey(np.array([1, 2], np.uint8)), "ca394f5bf0a251880102000000000000000102"),
    SeedSums: (
        SeedSums(np.array([[[[1], [2]]]], np.uint8)),
        "d70e3a9f4c3c71b10401000000000000000100000000000000020000000000000001000000000000000102",
    ),
    Extension: (
        Extension(np.array([[1]], np.uint8), np.array([2], np.uint8)),
        "02e9a5dc9af76bad02010000000000000001000000000000000101010000000000000002",
    ),
    MaskedTrees: (
        MaskedTrees(np.array([[[[1], [2]]]], np.uint8), np.array([[3]], np.uint8)),
        "6ebde7dab5640f4204010000000000000001000000000000000200000000000000010000000000000001020201000000"
        "00000000010000000000000003",
    ),
    VoleSetSize: (VoleSetSize(4), "5c5881fdff86df1a0400000000000000"),
    VoleSeed: (VoleSeed(b"seed"), "f9a77f3fe64f5adb040000000000000073656564"),
    MaskedTable: (MaskedTable(np.array([[1, 2]], np.uint8)), "665b30f26ad434af02010000000000000002000000000000000102"),
    Tags: (Tags(np.array([[1, 2]], np.uint8)), "25a5a7d8fe2a75c202010000000000000002000000000000000102"),
    Bitmap: (Bitmap(np.array([1], np.uint8)), "691d3051adab611601010000000000000001"),
    LineSpeed: (LineSpeed(0.5, 0.25), "cdf098c5518dd13e000000000000e03f000000000000d03f"),
    ProductPublicKey: (
        ProductPublicKey(b"\x01\x02", np.array([3, 4], np.uint8)),
        "99d5d62cfae7d129020000000000000001020102000000000000000304",
    ),
    EncryptedNumbers: (
        EncryptedNumbers(b"\x01\x02", np.array([[3, 4]], np.uint8)),
        "884647887504f5990200000000000000010202010000000000000002000000000000000304",
    ),
    MaskedAnswers: (
        MaskedAnswers(np.array([1], np.uint8), np.array([[2, 3]], np.uint8)),
        "8875309dbaa6d2240101000000000000000102010000000000000002000000000000000203",
    ),
    PlainNumbers: (
        PlainNumbers(np.array([1, -2])),
        "02664c6a282dcb7e0102000000000000000100000000000000feffffffffffffff",
    ),
    PlainFactors: (
        PlainFactors(np.array([[1, -2]])),
        "d745159b77d6fe8802010000000000000002000000000000000100000000000000feffffffffffffff",
    ),
    PlainShare: (
        PlainShare(np.array([1, -2])),
        "4f33aec14550f5a70102000000000000000100000000000000feffffffffffffff",
    ),
    LogisticTerms: (
        LogisticTerms(1, 2, b"\x03", 4),
        "be56fe77a1bdf6cb010000000000000002000000000000000100000000000000030400000000000000",
    ),
    PassiveBins: (
        PassiveBins(np.array([3, 4]), 1.5),
        "abf0470f0991be1801020000000000000003000000000000000400000000000000000000000000f83f",
    ),
    OwnWeights: (OwnWeights(np.array([1, -2])), "3074684186c02d020102000000000000000100000000000000feffffffffffffff"),
    PartialScores: (PartialScores(np.array([0.5])), "2d9128b92ea18a77010100000000000000000000000000e03f"),
}


def test_a_frame_is_laid_out_as_documented() -> None:
    kind = hashlib.sha256(b"PlainVectors(vectors:<i8)").digest()[:8]
    shape = struct.pack("<BQQ", 2, 1, 2)
    assert encode(PlainVectors(np.array([[1, -2]]))) == kind + shape + struct.pack("<qq", 1, -2)
    kind = hashlib.sha256(b"Greeting(protocol:str,version:int,role:str,party:str,job:str)").digest()[:8]
    words = [struct.pack("<Q", len(word)) + word for word in (b"fedbank", b"active", "行".encode(), b"")]
    frame = kind + words[0] + struct.pack("<q", 1) + b"".join(words[1:])
    assert encode(Greeting("fedbank", 1, "active", "行", "")) == frame


def test_the_wire_bytes_of_each_kind_stay_as_they_are() -> None:
    found = {kind.__name__: encode(message).hex() for kind, (message, _) in WIRE.items()}
    assert found == {kind.__name__: frame for kind, (_, frame) in WIRE.items()}


def test_every_kind_on_the_wire_has_its_bytes_above() -> None:
    layers = ("fedbank.talk.", "fedbank.protocols.", "fedbank.models.logistic")
    assert {kind for kind in message_kinds() if kind.__module__.startswith(layers)} == set(WIRE)


# What `repr` shows


def message_kinds() -> list[type[Message]]:
    """Every message class in the package."""
    for module in pkgutil.walk_packages(fedbank.__path__, "fedbank."):
        if not module.name.endswith("__main__"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what other packages say while they are imported
                importlib.import_module(module.name)
    return sorted(
        (kind for kind in _descendants(Message) if kind.__module__.startswith("fedbank.")), key=lambda k: k.__name__
    )


def _descendants(kind: type[Message]) -> Iterator[type[Message]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


SECRETS = {"int": 8675309, "float": 86753.09, "str": "shibboleth", "bytes": b"shibboleth"}
SHOWN = ("8675309", "86753.09", "shibboleth", "222")


def test_no_message_shows_a_value() -> None:
    kinds = message_kinds()
    assert {"Masked", "Ciphertexts", "Winners", "PassiveState", "Sample"} <= {kind.__name__ for kind in kinds}
    for kind in kinds:
        assert kind.__repr__ is Message.__repr__, f"{kind.__name__} needs @dataclass(frozen=True, repr=False)"
        text = f"{_filled(kind)} {_filled(kind)!r}"
        assert kind.__name__ in text
        assert not [value for value in SHOWN if value in text]


def _filled(kind: type[Message]) -> Message:
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # every message class is a dataclass
    hints = typing.get_type_hints(kind, include_extras=True)
    return kind(**{field.name: _secret(hints[field.name]) for field in fields})


def _secret(hint: Any) -> Any:
    if hint in (int, float, str, bytes):
        return SECRETS[hint.__name__]
    return np.full(3, 222, typing.get_args(hint)[1])


def test_sizes_are_shown() -> None:
    text = "Everything(whole: int, real: float, text: 1, raw: 2, small: uint8[1], wide: int64[2, 3], reals: float64[0])"
    assert repr(ONE) == text


def test_no_two_kinds_share_a_name_or_a_tag() -> None:
    kinds = message_kinds()
    assert len({kind.__name__ for kind in kinds}) == len({kind_of(kind) for kind in kinds}) == len(kinds)


def test_messages_cannot_be_changed() -> None:
    for kind in message_kinds():
        name = dataclasses.fields(kind)[0].name  # type: ignore[arg-type]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(_filled(kind), name, 0)
