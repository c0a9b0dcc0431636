"""Matching people behind one call: which protocol and why, both sides agreed, bad peers, the shape of the talk."""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overhearing import Overheard, overhear, sizes

import fedbank
from fedbank.errors import PeerError, UsageError
from fedbank.protocols import alignment
from fedbank.protocols.alignment import FEW, PROTOCOLS, Alignment, Choice, Offer, align, choose, receiver, sender
from fedbank.protocols.packed_ids import PackedIds
from fedbank.talk.codec import Message, encode
from fedbank.talk.links import LocalLink
from fedbank.talk.measure import Line
from fedbank.talk.peer import Peer

Saying = Callable[..., Peer]
BANK = ["ann", "bob", "cid", "dan"]
REGULATOR = ["dan", "eve", "ann", "fay", "gil"]
LAN, SLOW = Line(1e9, 1e-4), Line(1.25e6, 0.05)


def matched(left: Sequence[str] = BANK, right: Sequence[str] = REGULATOR, **options: Any) -> Overheard:
    """Receiver on the left, sender on the right; `receiver=` and `sender=` are options of one side."""
    own = [options.pop(side, {}) for side in ("receiver", "sender")]
    return overhear(
        lambda peer: align(peer, left, "plain", "receiver", **options, **own[0]),
        lambda peer: align(peer, right, "plain", "sender", **options, **own[1]),
    )


def people(ids: Sequence[str], found: Alignment) -> list[str]:
    assert found.rows is not None
    assert found.size == len(found.rows)
    return [ids[row] for row in found.rows]


def agreed(talk: Overheard) -> tuple[str, str]:
    """Protocol and reason, the same on both sides."""
    assert (talk.left.protocol, talk.left.reason) == (talk.right.protocol, talk.right.reason)
    return talk.left.protocol, talk.left.reason


# What it finds


def test_a_worked_example() -> None:
    """The bank holds ann, bob, cid, dan; the regulator dan, eve, ann, fay, gil: four and five are few, so ECDH."""
    talk = matched()
    assert people(BANK, talk.left) == people(REGULATOR, talk.right)
    assert sorted(people(BANK, talk.left)) == ["ann", "dan"]
    assert agreed(talk) == ("ecdh", "ECDH: 4 and 5 ids are few; VOLE pays from 4,096 on.")
    assert repr(talk.left) == f"Alignment(size=2, protocol='ecdh', reason={talk.left.reason!r})"
    assert fedbank.align is align


NAMES = st.lists(st.text(max_size=3), max_size=12, unique=True)


@pytest.mark.parametrize("protocol", ["ecdh", "vole", "vole-ot"])
@settings(max_examples=25)
@given(left=NAMES, right=NAMES)
def test_equals_the_intersection_of_the_sets(protocol: str, left: list[str], right: list[str]) -> None:
    talk = matched(left, right, protocol=protocol)
    assert people(left, talk.left) == people(right, talk.right)
    assert sorted(people(left, talk.left)) == sorted(set(left) & set(right))


def test_packed_ids_and_threads() -> None:
    talk = overhear(
        lambda peer: align(peer, PackedIds.of(BANK), "plain", "receiver", threads=2),
        lambda peer: align(peer, PackedIds.of(REGULATOR), "plain", "sender", threads=2),
    )
    assert sorted(people(BANK, talk.left)) == ["ann", "dan"]


@pytest.mark.parametrize("protocol", ["ecdh", "vole", "vole-ot"])
def test_the_receiver_alone_learns(protocol: str) -> None:
    talk = matched(learns="receiver", protocol=protocol)
    assert sorted(people(BANK, talk.left)) == ["ann", "dan"]
    assert (talk.right.rows, talk.right.size) == (None, None)


def test_the_receiver_learns_the_size_alone() -> None:
    talk = matched(learns="size")
    assert (talk.left.rows, talk.left.size) == (None, 2)
    assert (talk.right.rows, talk.right.size) == (None, None)
    assert agreed(talk) == ("ecdh", "ECDH: the size alone is to be learnt, which VOLE does not offer.")


# Which protocol


def test_few_ids_are_matched_by_ecdh_on_every_line() -> None:
    for line in (LAN, SLOW):
        assert choose(FEW - 1, FEW - 1, line)[0] == "ecdh"
        assert choose(0, 1, line)[0] == "ecdh"


def test_many_ids_are_matched_by_vole_and_the_sentence_has_the_figures() -> None:
    protocol, reason = choose(2**20, 2**20, Line(12.5e6, 0.02))
    assert protocol == "vole"
    start = "VOLE: 1,048,576 and 1,048,576 ids at 12.5 MB/s: "
    assert reason.startswith(start)
    assert reason.endswith(" by ECDH.")
    ours, theirs = (float(word) for word in reason.removeprefix(start).replace(",", "").split() if word[0].isdigit())
    assert ours < theirs


def test_the_size_alone_is_ecdh_whatever_the_sizes() -> None:
    assert choose(2**24, 2**24, LAN, "size")[0] == "ecdh"


@settings(max_examples=200)
@given(
    receivers=st.integers(0, 10**8),
    senders=st.integers(0, 10**8),
    rate=st.floats(1e4, 1e10),
    round_trip=st.floats(0, 2),
)
def test_the_faster_one_is_chosen(receivers: int, senders: int, rate: float, round_trip: float) -> None:
    line = Line(rate, round_trip)
    protocol, reason = choose(receivers, senders, line)
    assert reason.endswith(".")
    if max(receivers, senders) >= FEW:
        expected = {name: cost.seconds(receivers, senders, line) for name, cost in alignment.COSTS.items()}
        assert expected[protocol] == min(expected.values())


def test_the_expected_seconds_by_hand() -> None:
    """A million ids each at 1 MB/s and 1 s a round trip, from the stated constants."""
    line, million = Line(1e6, 1.0), 10**6
    assert alignment.COSTS["ecdh"].seconds(million, million, line) == pytest.approx(2 + max(11.2, 43))
    assert alignment.COSTS["vole"].seconds(million, million, line) == pytest.approx(5 + 0.03 + 1.8 + 0.2 + 31.7)
    assert alignment.COSTS["ecdh"].seconds(million, 0, Line(1e9, 0)) == pytest.approx(5.6)


def test_very_unequal_sets_are_told_of_the_cached_mode() -> None:
    assert "1,000 times the other" in choose(10_000, 10_000_000, LAN)[1]
    assert "far more than the other" in choose(0, 10_000_000, LAN)[1]
    assert "cached" not in choose(200_000, 10_000_000, LAN)[1]
    assert "cached" not in choose(2, 1_000, LAN)[1]


def test_the_line_is_measured_where_the_choice_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "FEW", 2)
    talk = matched()
    assert "4 and 5 ids at " in agreed(talk)[1]
    kinds = [type(message).__name__ for message in talk.left_peer.said]
    assert kinds[:9] == ["Offer", *["LineProbe"] * 7, "LineSpeed"]
    assert kinds[9] == "Choice"


def test_a_line_that_is_known_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "FEW", 2)
    talk = matched(receiver={"line": Line(12.5e6, 0.02)})
    assert "4 and 5 ids at 12.5 MB/s: " in agreed(talk)[1]
    assert [type(message).__name__ for message in talk.left_peer.said[:2]] == ["Offer", "Choice"]


@pytest.mark.parametrize("cheap", ["ecdh", "vole"])
def test_the_expected_seconds_decide(monkeypatch: pytest.MonkeyPatch, cheap: str) -> None:
    """With costs turned around, the other protocol runs, on both sides."""
    nothing = alignment.Cost(0, 0, (0, 0), (0, 0), (0, 0), 0, overlaps=False)
    monkeypatch.setattr(alignment, "FEW", 2)
    monkeypatch.setattr(
        alignment,
        "COSTS",
        {name: nothing if name == cheap else replace(nothing, setup_s=1.0) for name in ("ecdh", "vole")},
    )
    talk = matched(receiver={"line": LAN})
    assert agreed(talk)[0] == cheap
    assert sorted(people(BANK, talk.left)) == ["ann", "dan"]


# Overrides


@pytest.mark.parametrize("wish", ["ecdh", "vole", "vole-ot"])
@pytest.mark.parametrize("who", [("receiver",), ("sender",), ("receiver", "sender")])
def test_what_one_side_asks_for_is_done(wish: str, who: tuple[str, ...]) -> None:
    talk = matched(**{side: {"protocol": wish} for side in who})
    name = {"ecdh": "ECDH", "vole": "VOLE", "vole-ot": "VOLE without LPN"}[wish]
    assert agreed(talk) == (wish, f"{name}, as asked for: 4 and 5 ids.")
    assert "LineProbe" not in [frame.kind for frame in talk.left_peer.transcript]


def refusals(left: dict[str, str], right: dict[str, str]) -> list[str]:
    """What each side says where the two do not agree."""
    ours, theirs = (Peer(link, name) for link, name in zip(LocalLink.pair(), ("bank", "regulator"), strict=True))

    def play(role: Callable[..., Any], peer: Peer, options: dict[str, str]) -> str:
        with pytest.raises(UsageError) as caught:
            role(peer, BANK, "plain", **options)
        return str(caught.value)

    with ThreadPoolExecutor(1) as other:
        answer = other.submit(play, sender, theirs, right)
        return [play(receiver, ours, left), answer.result()]


def test_two_different_wishes_end_in_a_sentence_on_both_sides() -> None:
    assert refusals({"protocol": "ecdh"}, {"protocol": "vole"}) == [
        "Matching people: this side asks for 'ecdh', bank for 'vole': set the protocol alike on both sides, or to "
        "'auto' on one.",
        "Matching people: this side asks for 'vole', regulator for 'ecdh': set the protocol alike on both sides, or to "
        "'auto' on one.",
    ]


def test_two_different_outcomes_end_in_a_sentence_on_both_sides() -> None:
    for said, (own, peer) in zip(
        refusals({"learns": "both"}, {"learns": "size"}), (("both", "size"), ("size", "both")), strict=True
    ):
        assert f"asks that {own!r} be learnt" in said
        assert f"that {peer!r} be: set learns alike" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "kkrt"}, "protocol 'kkrt' is not known"),
        ({"learns": "sender"}, "learns 'sender' is not known"),
        ({"learns": "size", "protocol": "vole"}, "VOLE does not offer the size alone"),
    ],
)
def test_unknown_options_are_refused_before_anything_is_sent(
    saying: Saying, options: dict[str, str], words: str
) -> None:
    for role in (receiver, sender):
        peer = saying([])
        with pytest.raises(UsageError, match=words):
            role(peer, BANK, "plain", **options)
        assert peer.transcript == []
    with pytest.raises(UsageError, match="no side 'server'"):
        align(saying([]), BANK, "plain", "server")  # type: ignore[arg-type]


# A bad peer at every receive

OFFER = Offer(5, 0, 0, 0)
CHOICE = Choice(1, 3, 0.0, 0.0)


@pytest.mark.parametrize(
    "offer",
    [
        replace(OFFER, count=-1),
        replace(OFFER, count=101),
        replace(OFFER, protocol=len(PROTOCOLS)),
        replace(OFFER, protocol=-1),
        replace(OFFER, learns=3),
        replace(OFFER, learns=-1),
        replace(OFFER, measures=2),
    ],
)
def test_a_hostile_offer_is_refused(saying: Saying, offer: Offer) -> None:
    for role in (receiver, sender):
        with pytest.raises(PeerError, match="Frame Offer from bank: expected"):
            role(saying([offer]), BANK, "plain", most=100)


def test_vole_for_the_size_alone_is_refused(saying: Saying) -> None:
    for role, protocol in itertools.product((receiver, sender), (2, 3)):
        with pytest.raises(PeerError, match="expected no VOLE"):
            role(saying([replace(OFFER, protocol=protocol, learns=2)]), BANK, "plain", learns="size")


@pytest.mark.parametrize(
    "choice",
    [
        replace(CHOICE, protocol=2),
        replace(CHOICE, protocol=0),
        replace(CHOICE, protocol=7),
        replace(CHOICE, protocol=-1),
        replace(CHOICE, reason=1),
        replace(CHOICE, reason=99),
    ],
)
def test_a_choice_that_the_rule_does_not_make_is_refused(saying: Saying, choice: Choice) -> None:
    with pytest.raises(PeerError, match="expected 'ecdh' by reason 3, found"):
        sender(saying([OFFER, choice]), BANK, "plain")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_figures_that_no_line_has_are_refused(saying: Saying, monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    monkeypatch.setattr(alignment, "FEW", 2)
    with pytest.raises(PeerError, match="expected the line's figures"):
        sender(saying([OFFER, Choice(1, 4, rate, 0.0)]), BANK, "plain")


def test_the_senders_own_wish_stands_against_another_choice(saying: Saying) -> None:
    with pytest.raises(PeerError, match="expected 'vole' by reason 1, found 'ecdh' by reason 3"):
        sender(saying([OFFER, CHOICE]), BANK, "plain", protocol="vole")


def test_spoilt_frames_are_refused(saying: Saying, spoil: Callable[[bytes], bytes]) -> None:
    for role, messages in ((receiver, [OFFER]), (sender, [OFFER]), (sender, [OFFER, CHOICE])):
        with pytest.raises(PeerError):
            role(saying([*messages[:-1], spoil(encode(messages[-1]))]), BANK, "plain")


# The shape of the talk


def test_what_is_said_depends_on_sizes_and_wishes_alone() -> None:
    """Other people, the same sizes: the same frames; and before the protocol nothing but offers and a choice."""
    one, other = matched(), matched(["p", "q", "ann", "dan"], ["ann", "x", "y", "z", "dan"])
    assert sizes(one.left_peer.heard) == sizes(other.left_peer.heard)
    assert sizes(one.right_peer.heard) == sizes(other.right_peer.heard)
    said: list[Message] = [Offer(4, 0, 0, 1), CHOICE]
    assert [encode(message) for message in one.left_peer.said[:2]] == [encode(message) for message in said]
    assert encode(one.right_peer.said[0]) == encode(OFFER)


def test_rows_are_int64() -> None:
    talk = matched()
    assert talk.left.rows.dtype == talk.right.rows.dtype == np.int64
