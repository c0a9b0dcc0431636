"""The parts of set intersection in the native core, on one thread: digests, matching, and the key-value store."""

from __future__ import annotations

import os

import numpy as np
from common import Clock, Figures, main

from fedbank import _native
from fedbank.protocols import okvs


def bench(quick: bool) -> Figures:
    """Work on 2^17 (quick) or 2^20 rows, and match 2^20 or 10^7; nanoseconds of CPU a row."""
    count, many = (2**17, 2**20) if quick else (2**20, 10**7)
    draw = np.random.default_rng(1)
    figures: Figures = {"instructions": _native.path(), "rows": count, "rows_to_match": many}

    def measure(name: str, rows: int, work: object) -> object:
        clock = Clock()
        with clock():
            result = work()  # type: ignore[operator]
        figures[f"{name}_s"] = clock.cpu_s
        figures[f"{name}_ns_per_row"] = clock.cpu_s / rows * 1e9
        return result

    ids = np.frombuffer(b"".join(b"%018d" % i for i in range(count)), np.uint8)
    offsets = np.arange(0, 18 * count + 1, 18, dtype=np.int64)
    measure("digest_ids", count, lambda: _native.digest_ids(ids, offsets, b"fedbank", 1))

    items, values = (draw.integers(0, 256, (count, 16), np.uint8) for _ in range(2))
    measure("digest_rows", count, lambda: _native.digest_rows(items, b"fedbank", 16, 1))
    shape, seed = okvs.shape_of(count), os.urandom(16)
    figures |= {"elements_per_item": shape.size / count, "clusters": shape.clusters}
    table = measure("encode", count, lambda: okvs.encode(items, values, seed, shape, os.urandom(32)))
    decoded = measure("decode", count, lambda: okvs.decode(items, table, seed, shape))  # type: ignore[arg-type]
    assert np.array_equal(decoded, values)  # type: ignore[arg-type]

    theirs = draw.integers(0, 256, (many, 12), np.uint8)
    mine = np.concatenate([theirs[: many // 2], draw.integers(0, 256, (many - many // 2, 12), np.uint8)])
    draw.shuffle(mine)
    where = measure("match", many, lambda: _native.match(mine, theirs, os.urandom(16), 1))
    assert (where >= 0).sum() == many // 2  # type: ignore[operator]
    measure("repeated", many, lambda: _native.repeated(theirs, os.urandom(16), 1))
    return figures


if __name__ == "__main__":
    main(bench, __doc__ or "")
