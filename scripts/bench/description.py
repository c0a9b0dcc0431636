"""Describing columns: CPU and traffic of each request at 100,000 people, ten columns at one party, twenty at another.

Every request runs alone and opens to both parties where it can; "iv" and "woe" use ten bins a column and make their
correlations with the peer. CPU seconds are those of both parties' threads in this process (standardising and binning
included), the least of several runs; megabytes are those of all frames. Each result is compared with the joined table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from common import Figures, main, table

from fedbank.data.tables import Table, TableReport
from fedbank.models.bin_counts import evidence
from fedbank.models.binning import Binner
from fedbank.models.column_facts import own_facts, standardised
from fedbank.models.described import Description
from fedbank.models.description import Request, active, passive
from fedbank.talk.links import LocalLink
from fedbank.talk.peer import Peer

PEOPLE, COLUMNS, MISSING = 100_000, (10, 20), 0.05
REQUESTS = (
    Request("correlation"),
    Request("missing"),
    Request("vif"),
    Request("iv"),
    Request("woe", "passive"),
)


def bench(quick: bool) -> Figures:
    """Each request alone, then all of them."""
    tables = _tables()
    figures: Figures = {}
    for requests in (*((one,) for one in REQUESTS), REQUESTS):
        name = requests[0].kind if len(requests) == 1 else "all"
        runs = [_run(tables, requests) for _ in range(1 if quick or name == "all" else 5)]
        figures[f"{name}_cpu_s"] = min(cpu for cpu, *_ in runs)
        figures[f"{name}_mb"] = runs[0][1]
        figures[f"{name}_wall_s"] = min(wall for _, _, wall, *_ in runs)
    *_, left, right = runs[0]
    return figures | _errors(tables, left, right)


def _tables() -> list[Table]:
    """Two parties' columns with missing cells; the second has the labels."""
    cells, labels = table(PEOPLE, sum(COLUMNS))
    features = cells.astype(np.float64)
    features[np.random.default_rng(2).random(features.shape) < MISSING] = np.nan
    parts = np.split(features, [COLUMNS[0]], axis=1)
    report = TableReport(PEOPLE, PEOPLE, {}, 0, {}, (), ())
    names = (tuple(f"c{column}" for column in range(count)) for count in COLUMNS)
    given = zip(parts, names, (labels, None), strict=True)
    return [Table([], np.ascontiguousarray(part), name, y, report) for part, name, y in given]


def _run(tables: list[Table], requests: tuple[Request, ...]) -> tuple[float, float, float, Description, Description]:
    """CPU seconds of both parties, megabytes, seconds by the clock, and what each party knows."""
    peers = [Peer(link, name) for link, name in zip(LocalLink.pair(), ("bank", "regulator"), strict=True)]
    found: dict[int, Description] = {}
    spent: list[float] = []

    def play(at: int, role: Callable[..., Description]) -> None:
        begin = time.thread_time()
        found[at] = role(peers[at], tables[at], requests)
        spent.append(time.thread_time() - begin)

    begin = time.perf_counter()
    other = threading.Thread(target=play, args=(1, passive))
    other.start()
    play(0, active)
    other.join()
    return sum(spent), peers[0].bytes_moved / 1e6, time.perf_counter() - begin, found[0], found[1]


def _errors(tables: list[Table], left: Description, right: Description) -> Figures:
    """The largest distances from the joined table."""
    joined = np.hstack([one.features for one in tables])
    standard = standardised(joined)
    correlation = own_facts(joined, standard).correlation
    factors = np.diag(np.linalg.inv(correlation))
    bins = Binner(bins=10).fit(tables[1].features).bins_
    exact = [evidence(counts) for counts in bins.counts(bins.transform(tables[1].features), tables[0].labels)]
    values = np.array([one.total_iv for one in exact])
    woe = np.concatenate([one.woe for one in right.woe])
    return {
        "correlation_max_error": _distance(left.correlation, correlation[: COLUMNS[0], COLUMNS[0] :]),
        "vif_max_relative_error": _distance(left.vif / factors[: COLUMNS[0]], 1),
        "iv_max_error": max(_distance(left.peer_information, values), _distance(right.information, values)),
        "woe_max_error": _distance(woe, np.concatenate([one.woe for one in exact])),
    }


def _distance(found: object, expected: object) -> float:
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max())


if __name__ == "__main__":
    main(bench, __doc__ or "")
