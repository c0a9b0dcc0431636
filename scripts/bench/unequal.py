"""Set intersection by a cached OPRF, a small set against a large one: tags once per key, then a run on kept tags."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
from common import Clock, Figures, main

from fedbank.protocols.oprf_psi import Life, OprfKey, client, publish, server
from fedbank.protocols.packed_ids import PackedIds
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

TODAY = date(2026, 1, 1)
LIFE = Life(date(2026, 12, 31), 1_000_000)
DIGITS = 18


def numbers(start: int, stop: int) -> PackedIds:
    """Ids of 18 digits."""
    digits = np.arange(start, stop)[:, None] // 10 ** np.arange(DIGITS - 1, -1, -1) % 10 + ord("0")
    return PackedIds(digits.astype(np.uint8).ravel(), np.arange(stop - start + 1) * DIGITS)


def bench(quick: bool) -> Figures:
    """Match 1,000 against 2^14 ids (quick) or 10,000 against 10^6, half of the small set in common."""
    small, large = (1_000, 2**14) if quick else (10_000, 10**6)
    theirs, mine = numbers(0, large), numbers(large - small // 2, large + small // 2)
    key = OprfKey.create(LIFE)
    keys, cache = {key.name: key}, {}
    once, online = Clock(), Clock()
    with once():
        published = publish(key, theirs, "plain")
    moved = []
    for ids, clock in ((mine.take(np.arange(0)), Clock()), (mine, online)):
        left, right = LocalLink.pair()
        peer = Peer(left, "server")
        with clock(), ThreadPoolExecutor(1) as other:
            other.submit(server, Peer(right, "client"), published, keys, today=TODAY)
            common = client(peer, ids, "plain", cache, life=LIFE, today=TODAY)
        moved.append(peer.bytes_moved)
    assert len(common) == small // 2
    return {
        "ids_server": large,
        "ids_client": small,
        "once_cpu_s": once.cpu_s,
        "once_cpu_per_million_ids_s": once.cpu_s / large * 1e6,
        "once_bytes_per_server_id": moved[0] / large,
        "run_wall_s": online.wall_s,
        "run_cpu_both_s": online.cpu_s,
        "run_bytes_per_client_id": moved[1] / small,
    }


if __name__ == "__main__":
    main(bench, __doc__ or "")
