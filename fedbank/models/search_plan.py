"""What two parties agree on before they search for the best logistic regression, and all that the search will disclose.

    plan = SearchPlan((LogisticParameters(C=0.1), LogisticParameters(C=1.0)), folds=5)
    print(plan.disclosures(people=5000, active=11, passive=20))

Everything here follows from public figures, so each party can read it before it has said a word. Held by
`tests/test_search_plan.py`; the search itself is `fedbank.models.model_search`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from fedbank.models.bin_counts import InputError
from fedbank.models.logistic_design import WEIGHT_RING, LogisticParameters, Scales
from fedbank.models.logistic_opening import FURTHEST
from fedbank.protocols.comparison import plan_of
from fedbank.protocols.private_sigmoid import COMPARED
from fedbank.protocols.product_parameters import (
    Ciphertexts,
    MatrixProduct,
    SlotProduct,
    choose_slots,
    choose_times,
    choose_transposed,
)

__all__ = ["Final", "Metric", "SearchDisclosure", "SearchPlan", "training_bytes"]

Metric = Literal["auc", "log loss", "ks"]
Final = Literal["open", "shared", "none"]

MOST_FOLDS = 255
MOST_TRAININGS = 100_000
ESTIMATE_ERROR = 0.1  # of `training_bytes`, relative; held by a test
WEIGHT_SIGN = plan_of(WEIGHT_RING - 1).line_bits
SCORE_SIGN = plan_of(COMPARED - 1).line_bits
SETUP_BYTES = 25_000  # base transfers in both directions
INSTANCE, INSTANCE_BYTES = 2**18, 215_000  # correlations of one silent instance, and what it moves


@dataclass(frozen=True)
class SearchPlan:
    """What both parties agree on.

    Attributes
    ----------
    settings : the parameters to try, all different; whether weights are opened is the business of `final`
    folds : k, 2 to 255; each person is held out once a repeat
    repeats : how often the folds are drawn anew
    metric : what the active party chooses by, as the mean over folds: "auc", "ks" or "log loss"
    variants : class weights that the active party tries with each setting. They stay private, their number does not
    seed : None, and the active party draws folds with equal shares of each label, by secret random numbers, and tells
        them. Or a number, from which both draw them without regard to labels (`evaluation.k_folds`)
    final : what becomes of a model of everybody with the best setting: its weights are opened to their owners, stay
        shared, or there is none
    """

    settings: tuple[LogisticParameters, ...]
    folds: int = 5
    repeats: int = 1
    metric: Metric = "auc"
    variants: int = 1
    seed: int | None = None
    final: Final = "open"

    def __post_init__(self) -> None:
        shared = tuple(dataclasses.replace(one, open_weights=False) for one in self.settings)
        object.__setattr__(self, "settings", shared)
        if not shared or len(set(shared)) < len(shared):
            raise InputError(
                f"A search needs settings that differ; found {len(shared)}, {len(set(shared))} of them new."
            )
        if not 2 <= self.folds <= MOST_FOLDS or self.repeats < 1 or self.variants < 1:
            raise InputError(
                f"A search has 2 to {MOST_FOLDS} folds, 1 repeat and 1 variant at least; found {self.folds}, "
                f"{self.repeats} and {self.variants}."
            )
        if self.metric not in ("auc", "log loss", "ks") or self.final not in ("open", "shared", "none"):
            raise InputError(
                "A search chooses by 'auc', 'log loss' or 'ks', and the final model is 'open', 'shared' or 'none'; "
                f"found {self.metric!r} and {self.final!r}."
            )
        if any(one.coding != "numbers" for one in shared):
            raise InputError("A search tries settings for columns of numbers, coding='numbers'.")
        if self.seed is not None and not 0 <= self.seed <= 2**63:
            raise InputError(f"The seed of a search is None or 0 to 2^63; found {self.seed}.")
        if self.trainings > MOST_TRAININGS:
            raise InputError(f"A search has {MOST_TRAININGS:,} trainings at most; found {self.trainings:,}.")

    @property
    def candidates(self) -> int:
        """Settings times variants; candidate c has setting c // variants."""
        return len(self.settings) * self.variants

    @property
    def trainings(self) -> int:
        """Of the search, without the final model."""
        return self.candidates * self.folds * self.repeats

    @property
    def scores_each(self) -> int:
        """Scores of one person that the active party learns."""
        return self.candidates * self.repeats

    @property
    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()

    def work(self) -> Iterator[tuple[int, int, int]]:
        """Yield (repeat, candidate, fold held out) in the order of training."""
        for repeat in range(self.repeats):
            for candidate in range(self.candidates):
                for fold in range(self.folds):
                    yield repeat, candidate, fold

    def disclosures(self, people: int, active: int, passive: int) -> SearchDisclosure:
        """Return all that the search, and the final model, will disclose and cost.

        Parameters
        ----------
        people : aligned people, n
        active, passive : columns of each party, the active one's with the intercept
        """
        last = 0 if self.final == "none" else max(one.passes for one in self.settings)
        passes = self.variants * self.folds * self.repeats * sum(one.passes for one in self.settings) + last
        return SearchDisclosure(
            rows=tuple(_rows(self, people, active, passive)),
            trainings=self.trainings + (self.final != "none"),
            passes=passes,
            scores=people * self.scores_each,
            line_bytes=_line_bytes(self, people, active, passive),
        )


@dataclass(frozen=True)
class SearchDisclosure:
    """The total of a search, before it starts.

    Attributes
    ----------
    rows : (step, who learns it, what, how much), as `party.report.Disclosed` takes them
    trainings, passes : the final model's included, with the most passes that it may have
    scores : of held-out people, opened to the active party
    line_bytes : both ways together; an estimate, right within a tenth, without what TLS and gRPC add
    """

    rows: tuple[tuple[str, str, str, str], ...]
    trainings: int
    passes: int
    scores: int
    line_bytes: float

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is disclosed, for a model card."""
        return tuple(
            f"{step}: {to}: {what} ({amount})" if amount else f"{step}: {to}: {what}"
            for step, to, what, amount in self.rows
        )

    def __str__(self) -> str:
        return "\n".join(
            (
                f"{self.trainings:,} trainings, {self.passes:,} passes over the people, about "
                f"{self.line_bytes / 1e6:,.0f} MB on the line (estimate, within {ESTIMATE_ERROR:.0%}).",
                *self.sentences,
            )
        )


def training_bytes(scales: Scales) -> float:
    """Return an estimate of what one training moves, both ways together: products exactly, transfers by their sizes."""
    passes, moved = scales.parameters.passes, float(SETUP_BYTES)
    for sizes in scales.products:
        moved += _product_bytes([choose_times(sizes), choose_transposed(sizes)], passes)
    moved += _product_bytes([choose_slots(scales.sigmoid.products)], passes)
    bits, forward, backward = _transfers(scales)
    moved += passes * bits / 8
    instances = [math.ceil(passes * count / INSTANCE) for count in (*forward, backward)]
    return moved + INSTANCE_BYTES * sum(instances)


def _line_bytes(plan: SearchPlan, people: int, active: int, passive: int) -> float:
    """Trainings on all but one fold, scores of that fold, and the final model."""
    held = people / plan.folds
    scoring = plan.candidates * plan.folds * plan.repeats * _scoring_bytes(plan, round(held), people, active, passive)
    fold_models, last = 0.0, 0.0
    for one in plan.settings:
        fold_models += training_bytes(Scales(max(2, round(people - held)), active, passive, one))
        if plan.final != "none":
            last = max(last, training_bytes(Scales(max(2, people), active, passive, one)))
    told = people * plan.repeats if plan.seed is None else 0
    return fold_models * plan.variants * plan.folds * plan.repeats + last + scoring + told


def _scoring_bytes(plan: SearchPlan, held: int, people: int, active: int, passive: int) -> float:
    scales = Scales(max(2, people - held), active, passive, plan.settings[0])
    products = [choose_times(sizes) for sizes in scales.scoring(held, 2 ** (scales.entry_bits + FURTHEST))]
    return _product_bytes(products, 1) + 8 * held


def _product_bytes(products: list[MatrixProduct] | list[SlotProduct], passes: int) -> float:
    """Ciphertexts and answers of so many passes, and a public key for each set of parameters."""
    keys: set[Ciphertexts] = {one.ciphertexts for one in products}
    return passes * sum(one.up_bytes + one.down_bytes for one in products) + sum(key.sent_bytes for key in keys)


def _transfers(scales: Scales) -> tuple[float, tuple[float, float, float], float]:
    """Bits on the line of a pass, its forward correlations by kind (single bits, leaves, nodes), and backward ones."""
    people, rows, ring = scales.samples, scales.rows, scales.sigmoid.ring
    columns = scales.active + scales.passive
    shrunk = 2 * columns if scales.parameters.lasso else 0
    weights = (
        4 * columns + 2 * columns * WEIGHT_RING + (columns + shrunk) * (WEIGHT_RING + 1)
    )  # lifts, products, choices
    forward = 2 * people + rows + weights
    bits = 3 * people * (1 + ring) + rows * (1 + scales.bits) + weights * (1 + WEIGHT_RING)
    bits += 2 * people * SCORE_SIGN + (1 + shrunk) * WEIGHT_SIGN
    plan = plan_of(COMPARED - 1)
    nodes = sum(map(len, plan.levels))
    return bits, (forward, 2 * people * len(plan.leaves), 2 * people * nodes), people


def _rows(plan: SearchPlan, people: int, active: int, passive: int) -> Iterator[tuple[str, str, str, str]]:
    """What is disclosed, step by step."""
    tried = f"{len(plan.settings)} setting" + "s" * (len(plan.settings) > 1)
    if plan.variants > 1:
        tried += f", {plan.variants} class weights each, whose values stay with the active party"
    sizes = f"{people:,} people, {active} and {passive} columns"
    yield "start", "both", f"the number of people, of columns of each party, and this plan ({tried})", sizes
    if plan.seed is None:
        yield (
            "folds",
            "passive",
            "which person is in which fold. Folds have equal shares of each label as far as whole people and groups "
            "allow, and are random besides: whoever knows all labels of a fold but one can infer that one",
            f"{plan.repeats * people:,} fold numbers, up to {_label_bits(plan, people):,.0f} bits about all labels "
            "together",
        )
    yield (
        "trainings",
        "both",
        "whether the last step of each training was short; the weights of these models are known to nobody",
        f"{plan.trainings:,} bits",
    )
    yield "held-out people", "active", _scores_text(plan, active, passive), f"{people * plan.scores_each:,} scores"
    if len(plan.settings) > 1:
        yield (
            "choice",
            "passive",
            f"which setting has the best {plan.metric}, not by how much",
            f"{math.log2(len(plan.settings)):.1f} bits",
        )
    if plan.final != "none":
        opened = plan.final == "open"
        yield (
            "final model",
            "both",
            ("its own weights of the final model" if opened else "no weight of the final model")
            + "; whether its last step was short",
            f"{active} and {passive} weights, 1 bit" if opened else "1 bit",
        )
    yield "whole search", "nobody", "a gradient, a residual, a weight of a fold's model, the other party's weights", ""


def _label_bits(plan: SearchPlan, people: int) -> float:
    """Entropy of the counts of a label in folds that took no heed of labels, in bits, when half of the labels are 1:
    so much less is open about labels once these counts are known to be equal."""
    spread = 2 * math.pi * math.e * people / plan.folds / 4
    return plan.repeats * (plan.folds - 1) * max(0.0, math.log2(spread) / 2)


def _scores_text(plan: SearchPlan, active: int, passive: int) -> str:
    """What the active party learns of held-out people, and what it can make of it."""
    each, plural = plan.scores_each, "s" * (plan.scores_each > 1)
    own = ""
    if plan.final == "open":
        own = ", and nearly itself, as its own final weights differ little from those of the folds"
    known = f"whoever knows the passive columns of some {active + passive} people in a fold"
    if each >= passive:
        end = (
            f"There are as many scores a person as passive columns ({passive}): {known} can in principle work out all "
            "columns of the others in it"
        )
    else:
        end = (
            f"{known[0].upper()}{known[1:]} learns {each} linear combination{plural} of the {passive} columns of the "
            "others in it"
        )
    return (
        f"{each} score{plural} (log odds) of every person, each by a model that was trained without this person. A "
        "score is the sum of both parties' parts; by regressing on its own columns the active party learns the passive "
        f"part but for {active} unknown weights a model{own}. {end}"
    )
