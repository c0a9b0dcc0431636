"""Turn what a run did into its report: data facts, engine, what was disclosed to whom, traffic, times, model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from fedbank.data.tables import Table
from fedbank.models.evaluation import Evaluation
from fedbank.models.forest import ActiveHalf, PassiveHalf
from fedbank.party.card_account import CORRELATIONS, card_disclosures, card_summary, model_card
from fedbank.party.config import PartyConfig
from fedbank.party.halves import Half
from fedbank.party.job import Job
from fedbank.party.people import TOGETHER, trainings
from fedbank.party.report import DataFacts, Disclosed, ModelSummary, ReportContent, Traffic
from fedbank.party.steps import Steps
from fedbank.protocols.alignment import Alignment
from fedbank.protocols.histogram import Scheme
from fedbank.talk.peer import Direction, Peer

__all__ = ["Account", "report_content", "traffic_rows"]

SYNTAX = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Account:
    """What a party knows at the end of a run; `samples`: people and bads by part, at the active party."""

    config: PartyConfig
    job: Job
    started: datetime
    steps: Steps
    peers: tuple[Peer, ...]
    table: Table
    common: Mapping[str, int]
    used: int
    half: Half
    evaluations: Mapping[str, Evaluation]
    stability: Mapping[str, float]
    split: Mapping[str, int]
    resumed_after: int
    schemes: tuple[Scheme, ...]
    alignments: Mapping[str, Alignment]
    notes: tuple[str, ...] = ()
    samples: tuple[tuple[str, int, int], ...] = ()


def report_content(account: Account) -> ReportContent:
    """Return everything that the report shows."""
    job, config, half = account.job, account.config, account.half
    scheme = min(account.schemes, key=lambda one: one.security_bits)  # the weakest that was used
    role = job.role(config.party)
    security = "none: PLAINTEXT" if scheme.plaintext else f"{scheme.security_bits} bits ({scheme.source})"
    after = "tree" if job.model == "boosting" else "pass"
    notes = [] if not account.resumed_after else [f"The run was resumed after {after} {account.resumed_after}."]
    if role == "active" and not account.evaluations:
        notes.append("No test row, or all test labels equal: the scores were not judged.")
    engine = [
        ("Scheme", scheme.name),
        *(("Parameters", one.parameters) for one in account.schemes),
        *([("Comparisons", CORRELATIONS)] if job.model == "scorecard" else []),
        ("Estimated security", security),
        *_intersections(account),
        ("Line", "mutual TLS 1.3 over gRPC"),
    ]
    disclosed, card = list(_disclosed(account)), None
    if not isinstance(half, ActiveHalf | PassiveHalf):
        card = model_card(job, half, config.card, account.samples, engine, disclosed, account.notes)
    return ReportContent(
        title=job.name,
        party=config.party,
        role=role,
        peers=job.partners(config.party),
        job=job.name,
        job_hash=job.hash,
        started=account.started.strftime(SYNTAX),
        ended=datetime.now().strftime(SYNTAX),
        engine=engine,
        plaintext=scheme.plaintext,
        data=DataFacts(
            account.table.report.rows, account.table.report.rejected, max(account.common.values()), account.split
        ),
        evaluations=account.evaluations,
        stability=account.stability,
        disclosed=disclosed,
        traffic=traffic_rows(account.peers),
        steps=account.steps.done,
        model=_model(job, half) if isinstance(half, ActiveHalf | PassiveHalf) else card_summary(half),
        card=card,
        notes=[*notes, *account.notes],
        language=config.language,
    )


INTERSECTIONS = {
    "ecdh": "ECDH, Curve25519, RFC 9380 hash to curve, 128 bits",
    "vole": "VOLE and oblivious key-value store (RR22), 128 bits",
    "vole-ot": "VOLE from oblivious transfers and key-value store (RR22), 128 bits, without LPN",
}


def _intersections(account: Account) -> Iterator[tuple[str, str]]:
    """The set intersection with each peer, and why this one; a run that was resumed did not match anybody."""
    for peer, used in account.alignments.items():
        yield "Set intersection", INTERSECTIONS[used.protocol]
        yield f"Chosen with {peer}", used.reason
    if not account.alignments:
        yield "Set intersection", "as in the run that was resumed"


def traffic_rows(peers: Iterable[Peer]) -> list[Traffic]:
    """Frames and bytes by message kind over all conversations, the largest first."""
    total: dict[tuple[Direction, str], tuple[int, int]] = {}
    for peer in peers:
        for key, (frames, size) in peer.traffic().items():
            before = total.get(key, (0, 0))
            total[key] = (before[0] + frames, before[1] + size)
    rows = [Traffic(kind, way, frames, size) for (way, kind), (frames, size) in total.items()]
    return sorted(rows, key=lambda row: -row.bytes)


def _model(job: Job, half: ActiveHalf | PassiveHalf) -> ModelSummary:
    own, kind = len(half.splits), "boosted trees"
    if isinstance(half, PassiveHalf):
        rows = [("Own splits", str(own)), ("Model", half.model)]
        counts: dict[str, float] = {}
        for split in half.splits:
            counts[split.feature] = counts.get(split.feature, 0.0) + 1.0
        return ModelSummary(None, job.boosting.max_depth, rows, dict(sorted(counts.items(), key=lambda i: -i[1])), kind)
    gain = half.gain_by_party()
    total = sum(gain.values()) or 1.0
    rows = [("Model", half.model), *((f"Gain from {party}", f"{value / total:.1%}") for party, value in gain.items())]
    return ModelSummary(half.trees, job.boosting.max_depth, rows, half.gain_by_feature(), kind)


def _disclosed(account: Account) -> Iterator[Disclosed]:
    """What this run told whom beyond its own input: the tables of the protocol files, with this run's figures."""
    job, half, own_name = account.job, account.half, account.config.party
    active = own_name == job.active
    for passive in job.passive if active else (own_name,):
        people = account.common[passive if active else job.active]
        common = f"{people:,} people in common"
        for party in (job.active, passive):
            yield Disclosed("align people", party, "size of the other set; which own people are in it", common)
        yield Disclosed("align people", passive, "which common people this job uses", f"{account.used:,} of {common}")
        if isinstance(half, ActiveHalf | PassiveHalf):
            yield from _trees_disclosed(job, half, passive)
        else:
            yield from card_disclosures(job, account.used)


def _trees_disclosed(job: Job, half: ActiveHalf | PassiveHalf, passive: str) -> Iterator[Disclosed]:
    depth, trees = job.boosting.max_depth, job.boosting.trees
    count = 1 + trainings(job, TOGETHER) + (trainings(job, "alone") if job.compare_alone else 0)
    won = sum(node.owner == passive for node in half.nodes) if isinstance(half, ActiveHalf) else len(half.splits)
    yield Disclosed(
        "train",
        job.active,
        f"gradient sums of each bin and column of {passive}, by node (level histograms)",
        f"{count} training(s) of up to {trees} trees, {2**depth - 1} nodes each",
    )
    bits = f"left/right bit, for each split won by {passive}, of the common people in its node"
    yield Disclosed("train", job.active, bits, f"{won} splits in the model")
    wins = "node, bin and missing direction of its winning splits; rows used; trees grown and kept"
    yield Disclosed("train", passive, wins, f"{won} splits in the model")
    if job.engine.scheme.plaintext:
        yield Disclosed("train", passive, "PLAINTEXT: every gradient, so every training label", "all training rows")
