"""Folds: whole groups, equal shares of labels, and what they tell of labels to whoever knows the random numbers."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbank.models.bin_counts import InputError
from fedbank.models.evaluation import k_folds
from fedbank.models.folds import drawn_folds, own_folds, public_folds
from fedbank.models.logistic_design import LogisticParameters
from fedbank.models.search_plan import SearchPlan

LABELS = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0])  # divisible by three folds


def plan(**changes):
    return SearchPlan((LogisticParameters(),), folds=3, **changes)


@given(st.integers(2, 5), st.integers(0, 20), st.integers(0, 20), st.randoms(use_true_random=False))
def test_folds_have_equal_shares_of_each_label(folds, goods, bads, random):
    labels = np.array([0] * (folds + goods) + [1] * (folds + bads))
    random.shuffle(labels)
    found = drawn_folds(labels, folds)
    for people in (labels == 0, labels == 1, labels >= 0):
        counts = np.bincount(found[people], minlength=folds)
        assert len(counts) == folds and counts.max() - counts.min() <= 1


@given(st.integers(2, 4), st.lists(st.integers(1, 5), min_size=4, max_size=12), st.integers(0, 2**32))
def test_groups_stay_whole(folds, sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(seed).integers(0, 2, len(groups))
    found = drawn_folds(labels, folds, groups)
    assert all(len(set(found[groups == group])) == 1 for group in range(len(sizes)))
    assert found.max() < folds


def test_groups_are_balanced_by_label():
    groups = np.repeat(np.arange(60), 5)
    labels = (groups < 12).astype(int)  # twelve groups of bads only
    found = drawn_folds(labels, 4, groups)
    assert np.bincount(found[labels == 1]).tolist() == [15] * 4
    assert np.bincount(found[labels == 0]).tolist() == [60] * 4


def test_whoever_knows_the_random_numbers_reads_labels_off_the_folds():
    """Why they are secret: of the 220 label vectors with three bads the known numbers leave some ten."""
    fixed = os.urandom(8 * len(LABELS))
    found = drawn_folds(LABELS, 3, random=lambda count: fixed[:count])
    vectors = []
    for bads in itertools.combinations(range(len(LABELS)), int(LABELS.sum())):
        vectors.append(np.isin(np.arange(len(LABELS)), bads).astype(int))
    left = [v for v in vectors if np.array_equal(drawn_folds(v, 3, random=lambda count: fixed[:count]), found)]
    assert any(np.array_equal(v, LABELS) for v in left)
    assert len(left) < len(vectors) / 10


def test_without_the_numbers_every_person_is_in_every_fold_alike():
    """The same test for goods and bads: how often a person is in a fold, and two people in one, over 4,000 draws."""
    draws = np.stack([drawn_folds(LABELS, 3) for _ in range(4000)])
    for fold in range(3):
        often = (draws == fold).mean(axis=0)
        assert np.abs(often - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 4000)
    together = (draws[:, :1] == draws[:, 1:]).mean(axis=0)  # with person 0, a good one of nine
    assert np.abs(together[LABELS[1:] == 1] - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 4000)
    assert np.ptp(together[LABELS[1:] == 0]) < 8 * np.sqrt(1 / 4 / 4000)


def test_public_folds_are_those_of_the_seed_at_both_sides():
    found = public_folds(plan(seed=7, repeats=2), 60)
    assert np.array_equal(found, [k_folds(60, 3, 7), k_folds(60, 3, 8)])
    assert np.array_equal(own_folds(plan(seed=7, repeats=2), np.tile(LABELS, 5), None, None), found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": LABELS[:3]}, "3 people of each label"),
        ({"groups": [1] * 6 + [2] * 6}, "found 2"),
        ({"groups": [1, 2, 3]}, "found 3"),
        ({"given": [0, 1, 2]}, "1 x 12"),
        ({"given": [3] * 12}, "0 to 2"),
        ({"given": [0] * 6 + [1] * 6}, "one label only"),
        ({"given": 1 - LABELS}, "one label only"),
        ({"seed": 1, "groups": np.arange(12)}, "either"),
    ],
)
def test_folds_that_cannot_be(arguments, words):
    labels = arguments.pop("labels", LABELS)
    made = plan(seed=arguments.pop("seed", None))
    with pytest.raises(InputError, match=words):
        own_folds(made, labels, arguments.get("groups"), arguments.get("given"))
