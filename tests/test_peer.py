"""A conversation: typed messages both ways, the transcript, a bad peer, and the greeting that opens every one."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedbank.errors import PeerError, PeerGone, UsageError
from fedbank.protocols.ecdh_psi import Masked, SetSize
from fedbank.talk import peer as peer_module
from fedbank.talk.codec import Message, Most, encode, kind_of, largest
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Frame, Peer, Stopped
from fedbank.talk.session import REMEDY, VERSION, Greeting, greet

POINTS = Masked(np.arange(64, dtype=np.uint8).reshape(2, 32))
STOPPED_BYTES = largest(Stopped, {"step": Most(120)})


class Listening:
    """A link that has one frame to give and remembers what it was asked for."""

    def __init__(self, frame: bytes = b""):
        self.frame = frame
        self.asked: list[tuple[int, float]] = []

    def put(self, frame: bytes, /) -> None:
        raise PeerGone("The line is down.")

    def get(self, limit: int, timeout: float, /) -> bytes:
        self.asked.append((limit, timeout))
        return self.frame

    def close(self) -> None:
        pass


# Send and receive


def test_a_worked_example(converse: Callable[..., Any]) -> None:
    def bank(peer: Peer) -> int:
        peer.send(SetSize(2))
        peer.send(POINTS)
        return peer.receive(SetSize).count

    def regulator(peer: Peer) -> Any:
        count = peer.receive(SetSize).count
        points = peer.receive(Masked, points=(count, 32)).points
        peer.send(SetSize(count + 1))
        return points

    talk = converse(bank, regulator)
    assert talk.left == 3
    assert np.array_equal(talk.right, POINTS.points)
    assert talk.left_peer.transcript == [
        Frame("sent", "SetSize", 16),
        Frame("sent", "Masked", 8 + 1 + 16 + 64),
        Frame("received", "SetSize", 16),
    ]
    assert talk.right_peer.transcript == [_turned(frame) for frame in talk.left_peer.transcript]
    assert talk.left_peer.traffic() == {
        ("sent", "SetSize"): (1, 16),
        ("sent", "Masked"): (1, 89),
        ("received", "SetSize"): (1, 16),
    }
    assert talk.left_peer.bytes_moved == talk.right_peer.bytes_moved == 16 + 89 + 16


def _turned(frame: Frame) -> Frame:
    return dataclasses.replace(frame, direction="received" if frame.direction == "sent" else "sent")


def test_traffic_adds_up_frames_of_a_kind() -> None:
    left, _ = LocalLink.pair()
    peer = Peer(left, "bank")
    for _ in range(3):
        peer.send(SetSize(1))
    assert peer.traffic() == {("sent", "SetSize"): (3, 48)}


def test_send_does_not_wait_for_the_peer() -> None:
    left, right = LocalLink.pair()
    sender, receiver = Peer(left, "regulator"), Peer(right, "bank")
    for count in range(1000):
        sender.send(SetSize(count))
    assert [receiver.receive(SetSize).count for _ in range(1000)] == list(range(1000))


def test_the_line_is_told_the_largest_frame_that_may_come() -> None:
    line = Listening(encode(POINTS))
    Peer(line, "bank", timeout=7.0).receive(Masked, points=(Most(100), 32))
    assert line.asked == [(8 + 1 + 16 + 3200, 7.0)]


def test_a_word_that_the_peer_has_stopped_always_fits() -> None:
    line = Listening(encode(SetSize(1)))
    Peer(line, "bank").receive(SetSize)
    assert line.asked[0][0] == STOPPED_BYTES > len(encode(SetSize(1)))


def test_a_frame_beyond_the_limit_is_refused_before_it_is_decoded(
    saying: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "decode", None)
    with pytest.raises(PeerError, match=r"Frame 1 from bank, expected Masked: .* at most 136 bytes, found one of 3225"):
        saying([Masked(np.zeros((100, 32), np.uint8))]).receive(Masked, points=(2, 32))


def test_a_missing_bound_is_noticed_before_anything_is_awaited() -> None:
    line = Listening()
    with pytest.raises(UsageError, match=r"Masked\.points has no bound"):
        Peer(line, "bank").receive(Masked)
    assert line.asked == []


def test_a_spoilt_frame_is_refused_with_its_number(
    saying: Callable[..., Peer], spoil: Callable[[bytes], bytes]
) -> None:
    good = encode(SetSize(3))
    peer = saying([good, good, spoil(good)])
    assert [peer.receive(SetSize).count for _ in range(2)] == [3, 3]
    with pytest.raises(PeerError, match=r"Frame 3 from bank.*SetSize"):
        peer.receive(SetSize)
    assert len(peer.transcript) == 2


def test_a_refusal_says_what_was_expected_and_found(saying: Callable[..., Peer]) -> None:
    with pytest.raises(PeerError, match=r"Frame 1 from bank: expected Masked, found SetSize\."):
        saying([SetSize(1)]).receive(Masked, points=(1, 32))
    with pytest.raises(PeerError, match=r"Masked\.points is not as agreed: expected 3, found 2\."):
        saying([POINTS]).receive(Masked, points=(3, 32))


# The end of a conversation


def test_a_peer_that_stops_is_reported_with_its_step(saying: Callable[..., Peer]) -> None:
    with pytest.raises(PeerError, match="bank stopped at step 'align people'"):
        saying([Stopped("align people")]).receive(Masked, points=(2, 32))


def test_stop_tells_the_peer(converse: Callable[..., Any]) -> None:
    def hears(peer: Peer) -> str:
        with pytest.raises(PeerError) as caught:
            peer.receive(SetSize)
        return str(caught.value)

    talk = converse(lambda peer: peer.stop("evaluate"), hears)
    assert "stopped at step 'evaluate'" in talk.right


def test_stop_on_a_dead_line_says_nothing() -> None:
    Peer(Listening(), "bank").stop("align people")


def test_a_long_step_still_reaches_the_peer(converse: Callable[..., Any]) -> None:
    assert _heard(converse, "meet " + "b" * 500).count("b") > 50


def test_a_long_step_in_chinese_still_reaches_the_peer(converse: Callable[..., Any]) -> None:
    assert "整理" in _heard(converse, "整理" * 50)


def _heard(converse: Callable[..., Any], step: str) -> str:
    """What a peer reads when this side stops at a step."""

    def hears(peer: Peer) -> str:
        with pytest.raises(PeerError, match="left") as caught:
            peer.receive(SetSize)
        return str(caught.value)

    return str(converse(lambda peer: peer.stop(step), hears).right)


def test_a_step_cannot_write_to_the_terminal(saying: Callable[..., Peer]) -> None:
    with pytest.raises(PeerError) as caught:
        saying([Stopped("align\x1b[2J\r\npeople")]).receive(SetSize)
    assert str(caught.value).isprintable()


def test_a_damaged_word_that_the_peer_has_stopped_is_refused_with_its_number(saying: Callable[..., Peer]) -> None:
    with pytest.raises(PeerError, match="Frame 1 from bank"):
        saying([kind_of(Stopped) + bytes(3)]).receive(SetSize)


def test_the_transcript_holds_the_peers_last_word(saying: Callable[..., Peer]) -> None:
    peer = saying([Stopped("evaluate")])
    with pytest.raises(PeerError):
        peer.receive(SetSize)
    assert peer.transcript == [Frame("received", "Stopped", 16 + len("evaluate"))]


def test_a_peer_that_hangs_up_is_gone(saying: Callable[..., Peer]) -> None:
    with pytest.raises(PeerGone, match=r"bank is gone while Masked was awaited: The peer has closed the line\."):
        saying([]).receive(Masked, points=(2, 32))


def test_a_peer_that_says_nothing_is_gone() -> None:
    left, _right = LocalLink.pair()
    with pytest.raises(PeerGone, match=r"bank is gone while SetSize was awaited: Nothing came .* within 0 seconds"):
        Peer(left, "bank", timeout=0.0).receive(SetSize)


def test_a_line_that_is_down_is_reported_with_what_was_sent() -> None:
    with pytest.raises(PeerGone, match=r"bank is gone while sending SetSize: The line is down\."):
        Peer(Listening(), "bank").send(SetSize(1))


def test_close_ends_the_conversation_after_what_was_sent(converse: Callable[..., Any]) -> None:
    def hears(peer: Peer) -> int:
        count = peer.receive(SetSize).count
        with pytest.raises(PeerGone):
            peer.receive(SetSize)
        return count

    assert converse(lambda peer: peer.send(SetSize(9)), hears).right == 9


# What is shown


def test_nothing_shown_of_a_conversation_holds_contents(saying: Callable[..., Peer]) -> None:
    peer = saying([SetSize(8675309)])
    peer.receive(SetSize)
    assert repr(peer) == "Peer('bank', 1 frames)"
    assert "8675309" not in repr(peer.transcript)


def test_progress_goes_to_whoever_watches_and_to_nobody_else() -> None:
    seen: list[tuple[str, int, int]] = []
    left, right = LocalLink.pair()
    Peer(left, "bank", watch=lambda *step: seen.append(step)).progress("hash", 1, 2)
    Peer(left, "bank").progress("hash", 2, 2)
    assert seen == [("hash", 1, 2)]
    with pytest.raises(PeerGone):
        right.get(100, 0.0)


# The greeting


BANK = Greeting("train", VERSION, "passive", "bank", "c0ffee")
REGULATOR = Greeting("train", VERSION, "active", "regulator", "c0ffee")


def meets(greeting: Greeting, peer_name: str, peer_role: str) -> Callable[[Peer], None]:
    def role(peer: Peer) -> None:
        peer.name = peer_name
        greet(peer, greeting, peer_role)

    return role


def test_two_sides_that_mean_the_same_meet(converse: Callable[..., Any]) -> None:
    talk = converse(meets(REGULATOR, "bank", "passive"), meets(BANK, "regulator", "active"))
    assert [(frame.direction, frame.kind) for frame in talk.left_peer.transcript] == [
        ("sent", "Greeting"),
        ("received", "Greeting"),
    ]
    assert talk.right_peer.transcript[1] == _turned(talk.left_peer.transcript[0])


MISMATCHES = [("protocol", "score"), ("version", VERSION + 1), ("role", "active"), ("party", "shop"), ("job", "decaf")]


@pytest.mark.parametrize(("field", "value"), MISMATCHES)
def test_a_mismatch_names_both_values_and_the_remedy(field: str, value: Any, saying: Callable[..., Peer]) -> None:
    theirs = dataclasses.replace(BANK, **{field: value})
    with pytest.raises(PeerError) as caught:
        greet(saying([theirs]), REGULATOR, "passive")
    sentence = str(caught.value)
    assert f"bank opens the conversation with {field} {value!r}" in sentence
    assert f"this side expects {getattr(BANK, field)!r}" in sentence
    assert sentence.endswith(f"{REMEDY[field]}.")


def test_every_field_of_the_greeting_is_compared() -> None:
    fields = [field.name for field in dataclasses.fields(Greeting)]
    assert fields == [field for field, _ in MISMATCHES] == list(REMEDY)


def test_both_sides_notice_a_mismatch(converse: Callable[..., Any]) -> None:
    def refuses(role: Callable[[Peer], None]) -> Callable[[Peer], str]:
        def refused(peer: Peer) -> str:
            with pytest.raises(PeerError) as caught:
                role(peer)
            return str(caught.value)

        return refused

    other = dataclasses.replace(BANK, job="decaf")
    talk = converse(refuses(meets(REGULATOR, "bank", "passive")), refuses(meets(other, "regulator", "active")))
    assert "job 'decaf', this side expects 'c0ffee'" in talk.left
    assert "job 'c0ffee', this side expects 'decaf'" in talk.right


@pytest.mark.parametrize("field", ["protocol", "role", "party", "job"])
def test_a_greeting_that_is_too_long_is_refused(field: str, saying: Callable[..., Peer]) -> None:
    def with_length(length: int) -> list[Message]:
        words: dict[str, Any] = {field: "x" * length}
        return [dataclasses.replace(BANK, **words)]

    with pytest.raises(PeerError, match=f"with {field} 'xxx"):
        greet(saying(with_length(128)), REGULATOR, "passive")
    with pytest.raises(PeerError, match=rf"Greeting\.{field} is not as agreed: expected at most 128, found 129"):
        greet(saying(with_length(129)), REGULATOR, "passive")


def test_a_spoilt_greeting_is_refused(saying: Callable[..., Peer], spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(PeerError, match=r"Frame 1 from bank.*Greeting"):
        greet(saying([spoil(encode(BANK))]), REGULATOR, "passive")


@pytest.mark.parametrize(("said", "error"), [([Stopped("check own side")], PeerError), ([], PeerGone)])
def test_a_peer_that_ends_instead_of_greeting_is_reported(
    said: list[Message], error: type[Exception], saying: Callable[..., Peer]
) -> None:
    with pytest.raises(error, match="bank"):
        greet(saying(said), REGULATOR, "passive")
