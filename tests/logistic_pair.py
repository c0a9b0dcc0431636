"""Both parties of a logistic regression or of a scorecard in this process; for tests.

Products are in the clear and correlations come from a dealer unless a test asks for the real ones: shares, their
rounding and every message but those of products are the real ones.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from types import SimpleNamespace

import numpy as np
from credit_cases import Case
from dealer import DealtReceiver, DealtSender

from fedbank.models import logistic
from fedbank.models.logistic_design import design_of
from fedbank.models.logistic_opening import open_weights
from fedbank.protocols import plain_product


def active_sources():
    return DealtSender(3), DealtReceiver(4)


def passive_sources():
    return DealtReceiver(3), DealtSender(4)


@dataclass
class Trained:
    """What both sides have after a training: `weights` of standardised columns, the intercept first, then the active
    party's; `states` (active's, passive's); `opened` likewise; `moved` bytes at the active side."""

    weights: np.ndarray
    states: tuple
    opened: tuple
    moved: int

    @property
    def short(self):
        return self.states[0].short


def train(
    converse,
    X_active,
    X_passive,
    y,
    parameters,
    *,
    engine=plain_product,
    dealt=True,
    sample_weight=None,
    start=(None, None),
    states=(None, None),
):
    """Run both roles to the end and open the weights."""
    given = {"engine": engine}

    def left(peer):
        sources = active_sources() if dealt else None
        going = logistic.active(
            peer,
            X_active,
            y,
            parameters,
            sample_weight=sample_weight,
            sources=sources,
            start=start[0],
            state=states[0],
            **given,
        )
        return last(going, peer, active=True)

    def right(peer):
        sources = passive_sources() if dealt else None
        going = logistic.passive(peer, X_passive, parameters, sources=sources, start=start[1], state=states[1], **given)
        return last(going, peer, active=False)

    found = converse(left, right)
    (first, own), (second, theirs) = found.left, found.right
    coefficients, intercept = design_of(X_active, parameters, active=True).coefficients(own)
    weights = [[intercept], coefficients]
    if not first.scales.widths:
        weights.append(design_of(X_passive, parameters, active=False).coefficients(theirs)[0])
    return Trained(np.concatenate(weights), (first, second), (own, theirs), found.left_peer.bytes_moved)


def last(going, peer, *, active):
    (state,) = deque(going, 1)
    return state, open_weights(peer, state, active=active)


def stopped(converse, X_active, X_passive, y, parameters, passes):
    """Return both sides' states after so many passes of a training that then ends, its weights unopened."""

    def after(going):
        return deque(islice(going, passes), 1)[0]

    def left(peer):
        return after(logistic.active(peer, X_active, y, parameters, engine=plain_product, sources=active_sources()))

    def right(peer):
        return after(logistic.passive(peer, X_passive, parameters, engine=plain_product, sources=passive_sources()))

    found = converse(left, right)
    return found.left, found.right


def fit(converse, active, passive, X_active, X_passive, y, sample_weight=None):
    """Fit two estimators with each other; returns them."""
    found = converse(
        lambda peer: active.fit(X_active, y, sample_weight, peer=peer, sources=active_sources()),
        lambda peer: passive.fit(X_passive, peer=peer, sources=passive_sources()),
    )
    return found.left, found.right


def scores(converse, active, passive, X_active, X_passive, ask="decision_function", **given):
    """Ask the fitted active side about people whom the passive one answers for."""
    return converse(
        lambda peer: getattr(active, ask)(X_active, peer=peer, **given),
        lambda peer: passive.answer(X_passive, peer=peer),
    ).left


def failures(converse, left, right):
    """Run two roles of which at least one fails; what each raised, or None."""

    def caught(role):
        def run(peer):
            try:
                role(peer)
            except Exception as error:
                return error
            finally:
                peer.close()
            return None

        return run

    found = converse(caught(left), caught(right))
    assert found.left or found.right, "Neither side failed."
    return found.left, found.right


def refused(converse, active, passive, X_active, X_passive, y, sample_weight=None):
    """What each side's `fit` raised, or None."""
    return failures(
        converse,
        lambda peer: active.fit(X_active, y, sample_weight, peer=peer, sources=active_sources()),
        lambda peer: passive.fit(X_passive, peer=peer, sources=passive_sources()),
    )


def thinned(case, every):
    """The case with every so many rows only."""
    return Case(case.name, case.active.iloc[::every], case.labels[::every], case.passive.iloc[::every])


def tables(case):
    """Both parties' columns as they hold them, and labels 0 or 1."""
    return SimpleNamespace(
        active=case.active.to_numpy(np.float64), passive=case.passive.to_numpy(np.float64), y=case.labels.astype(int)
    )
