"""Set intersection by ECDH: CPU of both parties together, wall, and bytes, for equal sets with half in common."""

from __future__ import annotations

import threading

from common import Clock, Figures, main

from fedbank.protocols import ecdh_psi
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer


def bench(quick: bool) -> Figures:
    """Match 2^13 (quick) or 2^17 ids a side."""
    count = 2**13 if quick else 2**17
    mine = [f"{i:018d}" for i in range(count)]
    theirs = [f"{i:018d}" for i in range(count // 2, count + count // 2)]
    left, right = LocalLink.pair()
    peer, clock = Peer(left, "sender"), Clock()
    with clock():
        other = threading.Thread(target=ecdh_psi.sender, args=(Peer(right, "receiver"), theirs, "plain"))
        other.start()
        common = ecdh_psi.receiver(peer, mine, "plain")
        other.join()
    assert len(common) == count // 2
    return {
        "ids_each_side": count,
        "common": len(common),
        "wall_s": clock.wall_s,
        "cpu_both_s": clock.cpu_s,
        "cpu_both_per_million_ids_s": clock.cpu_s / count * 1e6,
        "bytes_total": peer.bytes_moved,
        "bytes_per_id": peer.bytes_moved / (2 * count),
    }


if __name__ == "__main__":
    main(bench, __doc__ or "")
