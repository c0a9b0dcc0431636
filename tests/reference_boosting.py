"""Boosted trees on a joined table in the clear, written independently of fedbank: one node and one candidate at a time,
each candidate's sums from scratch. The federated protocol must grow exactly these trees.

Follows Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", 2016: equations 6 (leaf weight) and 7 (gain).
Nothing is imported from `fedbank.models` or `fedbank.protocols`.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Column:
    """One column: its owner, its name, its values (NaN for missing)."""

    owner: str
    name: str
    values: np.ndarray


@dataclass
class Settings:
    trees: int
    max_depth: int
    eta: float = 0.3
    reg_lambda: float = 1.0
    gamma: float = 0.0
    min_child_weight: float = 1.0
    max_bin: int = 32
    scale_pos_weight: float = 1.0
    gradient_bits: int = 16


def cut_points(values, most):
    """Half-way points between neighbouring values that part the rows into at most `most` bins of about equal size."""
    present = sorted(v for v in values.tolist() if not math.isnan(v))
    counted = []
    for v in present:
        if counted and counted[-1][0] == v:
            counted[-1][1] += 1
        else:
            counted.append([v, 1])
    points, seen, band_before = [], 0, None
    for place, (value, count) in enumerate(counted):
        band = place if len(counted) <= most else math.floor((seen + count / 2) * most / len(present))
        if place and band != band_before:
            below = counted[place - 1][0]
            half = below + (value - below) / 2
            points.append(half if half > below else value)
        band_before = band
        seen += count
    return points


def goes_left(values, point, missing_left):
    return np.where(np.isnan(values), missing_left, values < point)


def gain_of(left, right, settings, unit):
    """Equation 7 without the factor 1/2 and without gamma, as XGBoost reports it. Sums are integers in `unit`s."""
    penalty = settings.reg_lambda * unit

    def score(g, h):
        return float(g) ** 2 / (h + penalty)

    whole = (left[0] + right[0], left[1] + right[1])
    return (score(*left) + score(*right) - score(*whole)) / unit


def best_split_of(rows, columns, points, g, h, settings, unit):
    """The best (gain, column, point, missing left); the first of equal ones in the order of columns, points, right."""
    best = None
    g, h = g[rows], h[rows]
    total = (int(g.sum()), int(h.sum()))
    lightest = max(settings.min_child_weight * unit, 1)
    for j, column in enumerate(columns):
        for point in [*points[j], math.inf]:
            for missing_left in (False, True):
                chosen = goes_left(column.values[rows], point, missing_left).astype(bool)
                left = (int(g[chosen].sum()), int(h[chosen].sum()))
                right = (total[0] - left[0], total[1] - left[1])
                if left[1] < lightest or right[1] < lightest:
                    continue
                gain = gain_of(left, right, settings, unit)
                if gain > settings.gamma and (best is None or gain > best[0]):
                    best = (gain, j, point, missing_left)
    return best


def grow(columns, labels, train, settings):
    """Grow all trees; returns rows (tree, node, owner, column, threshold, missing left, leaf weight) and log odds."""
    points = [cut_points(c.values[train], settings.max_bin) for c in columns]
    bound = 2 ** (settings.gradient_bits - 1) - 1
    unit = bound / max(1.0, settings.scale_pos_weight)
    positives = int(labels[train].sum())
    negatives = int(train.sum()) - positives
    margin = np.full(len(labels), math.log(settings.scale_pos_weight * positives / negatives))
    out = []
    for tree in range(settings.trees):
        p = 0.5 * (1.0 + np.tanh(0.5 * margin))
        weight = np.where(labels == 1, settings.scale_pos_weight, 1.0) * unit
        g = np.array([round(x) for x in (p - labels) * weight])
        h = np.array([round(x) for x in p * (1 - p) * weight])
        todo = [(0, np.arange(len(labels)))]
        while todo:
            node, here = todo.pop(0)
            fed = here[train[here]]
            depth = int(math.log2(node + 1))
            found = None
            if depth < settings.max_depth:
                found = best_split_of(fed, columns, points, g, h, settings, unit)
            if found is None:
                weight = -settings.eta * int(g[fed].sum()) / (int(h[fed].sum()) + settings.reg_lambda * unit)
                out.append((tree, node, "", None, None, None, weight))
                margin[here] += weight
                continue
            _, j, point, missing_left = found
            column = columns[j]
            out.append((tree, node, column.owner, column.name, point, missing_left, 0.0))
            left = goes_left(column.values[here], point, missing_left).astype(bool)
            todo += [(2 * node + 1, here[left]), (2 * node + 2, here[~left])]
    return sorted(out, key=lambda row: row[:2]), margin
