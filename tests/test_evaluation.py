"""Each figure of `fedbank.models.evaluation` against its definition, and the splits against what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fedbank.errors import UsageError
from fedbank.models.evaluation import (
    OUT_OF_TIME,
    TEST,
    TRAIN,
    VALIDATION,
    _numbers,
    auc,
    auc_interval,
    calibration,
    confusion,
    evaluate,
    k_folds,
    ks,
    lift_and_gain,
    precision_at,
    split_rows,
    stability_index,
)

# Few different scores, so that ties are the rule.
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


def sample(count=2000, seed=3, gap=1.5):
    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.1).astype(int)
    z = random.normal(size=count) + gap * labels
    return labels, 1 / (1 + np.exp(-(gap * z - gap**2 / 2 + np.log(0.1 / 0.9))))


@given(rows)
def test_auc_counts_pairs(pairs):
    labels, scores = np.array(pairs).T
    above, below = scores[labels == 1], scores[labels == 0]
    wins = sum((p > n) + 0.5 * (p == n) for p in above for n in below)
    assert auc(labels, scores) == pytest.approx(wins / (len(above) * len(below)))


@given(rows)
def test_ks_is_the_largest_gap_between_the_two_distributions(pairs):
    labels, scores = np.array(pairs).T
    gaps = [np.mean(scores[labels == 1] >= cut) - np.mean(scores[labels == 0] >= cut) for cut in range(8)]
    assert ks(labels, scores) == pytest.approx(max(gaps))


def test_interval_equals_the_bootstrap_written_out():
    labels, scores = sample(120)
    scores = np.round(scores, 1)
    random = np.random.default_rng(5)
    areas = []
    for _ in range(40):
        drawn = random.integers(120, size=120)
        areas.append(roc_auc_score(labels[drawn], scores[drawn]))
    low, high = auc_interval(labels, scores, draws=40, seed=5, level=0.9)
    assert (low, high) == pytest.approx(tuple(np.quantile(areas, [0.05, 0.95])))


def test_interval_by_group_is_not_fooled_by_copies():
    labels, scores = sample(300)
    honest = auc_interval(labels, scores, draws=200)
    copies = [np.repeat(labels, 10), np.repeat(scores, 10)]
    groups = np.repeat([f"person {i:03}" for i in range(300)], 10)
    assert auc_interval(*copies, draws=200, groups=groups) == pytest.approx(honest)
    low, high = auc_interval(*copies, draws=200)
    assert high - low < 0.5 * (honest[1] - honest[0])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    truth = auc(*sample(200_000, seed=99))
    covered = 0
    for seed in range(60):
        low, high = auc_interval(*sample(400, seed=seed), draws=200, seed=seed)
        covered += low <= truth <= high
    assert 50 <= covered <= 60  # 57 expected; 50 or fewer has probability below 0.001


def test_interval_leaves_out_draws_with_one_label_and_refuses_when_none_remains():
    labels, refused = [1] * 5 + [0] * 5, 0
    for seed in range(40):
        try:
            assert auc_interval(labels, range(10), draws=1, seed=seed, groups=labels) == (0, 0)
        except UsageError as error:
            assert "holds both labels" in str(error)
            refused += 1
    assert 0 < refused < 40  # two groups: every other draw takes one of them twice
    with pytest.raises(UsageError, match="draws >= 1"):
        auc_interval(labels, range(10), draws=0)


@given(rows, st.integers(1, 5), st.randoms(use_true_random=False))
def test_lift_and_gain_add_up_and_ignore_the_order_of_ties(pairs, bands, random):
    bands = min(bands, len(pairs))
    table = lift_and_gain(*np.array(pairs).T, bands=bands)
    assert sum(row.people for row in table) == len(pairs)
    assert max(row.people for row in table) - min(row.people for row in table) <= 1
    assert sum(row.positives for row in table) == pytest.approx(sum(label for label, _ in pairs))
    assert table[-1].gain == pytest.approx(1) and table[-1].cumulative_lift == pytest.approx(1)
    random.shuffle(pairs)
    for one, two in zip(table, lift_and_gain(*np.array(pairs).T, bands=bands), strict=True):
        assert one.positives == pytest.approx(two.positives)


def test_lift_worked_example():
    first, second = lift_and_gain([1, 1, 0, 1, 0, 0], [6, 5, 4, 3, 2, 1], bands=2)
    assert (first.positives, first.rate, first.lift, first.gain) == pytest.approx((2, 2 / 3, 4 / 3, 2 / 3))
    assert (second.highest_score, second.lowest_score, second.cumulative_lift) == (3, 1, 1)


def test_calibration_worked_example():
    found = calibration([0, 1, 1, 1], [0.2, 0.2, 0.9, 0.7], bands=2)
    low, high = found.rows
    assert (low.mean_probability, low.observed_rate) == pytest.approx((0.2, 0.5))
    assert (high.mean_probability, high.observed_rate) == pytest.approx((0.8, 1.0))
    assert found.expected_error == pytest.approx((0.3 + 0.2) / 2)
    assert found.brier == pytest.approx((0.04 + 0.64 + 0.01 + 0.09) / 4)
    assert low.low == pytest.approx(0.0945, abs=1e-4) and low.high == pytest.approx(0.9055, abs=1e-4)  # Wilson


def test_calibration_tells_honest_from_inflated_probabilities():
    labels, probabilities = sample(20_000)
    honest, inflated = calibration(labels, probabilities), calibration(labels, np.sqrt(probabilities))
    assert honest.expected_error < 0.01 and inflated.expected_error > 0.1
    assert honest.brier < inflated.brier
    with pytest.raises(UsageError, match="between 0 and 1"):
        calibration(labels, probabilities * 3)


@pytest.mark.parametrize(("top", "expected"), [(1, 1.0), (2, 0.75), (3, 2 / 3), (5, 0.4)])
def test_precision_at_shares_ties_out(top, expected):
    assert precision_at([1, 1, 0, 0, 0], [0.9, 0.5, 0.5, 0.2, 0.1], top) == pytest.approx(expected)
    assert precision_at([1, 0, 1, 0, 0], [0.9, 0.5, 0.5, 0.2, 0.1], top) == pytest.approx(expected)


def test_precision_needs_enough_rows():
    with pytest.raises(UsageError, match="top 6"):
        precision_at([1, 1, 0, 0, 0], range(5), 6)


@given(rows, st.integers(-1, 8))
def test_confusion_counts_each_row_once(pairs, threshold):
    labels, scores = np.array(pairs).T
    found = confusion(labels, scores, threshold)
    assert found.true_positives == sum(label == 1 and score >= threshold for label, score in pairs)
    assert found.false_positives == sum(label == 0 and score >= threshold for label, score in pairs)
    assert found.flagged + found.false_negatives + found.true_negatives == len(pairs)
    assert found.recall == pytest.approx(np.mean(scores[labels == 1] >= threshold))
    assert 0 <= found.precision <= 1


def test_stability_index_worked_example():
    expected, actual = [1] * 50 + [2] * 50, [1] * 20 + [2] * 80
    # Border 1 is also the smallest value, so there is a band below it: 0, 50, 50 against 0, 20, 80 rows.
    e, a = (np.array(counts) + 0.5 for counts in ([0, 50, 50], [0, 20, 80]))
    e, a = e / e.sum(), a / a.sum()
    assert stability_index(expected, actual, bands=2) == pytest.approx(np.sum((a - e) * np.log(a / e)))


def test_stability_index_grows_with_the_shift_and_stays_finite():
    values = np.random.default_rng(0).normal(size=4000)
    other = np.random.default_rng(1).normal(size=4000)
    found = [stability_index(values, other + shift) for shift in (0, 0.5, 1, 50)]
    assert found[0] < 0.02 and 0.1 < found[1] < found[2] < found[3] < np.inf
    assert stability_index(values, values) == 0
    assert stability_index([5] * 100, [4] * 100) > 0.25
    with pytest.raises(UsageError, match="values on both sides"):
        stability_index(values, [])


def test_shuffle_equals_splitmix64_as_published():
    # The sequence for seed 1234567, as listed with the algorithm by Rosetta Code ("Pseudo-random numbers/Splitmix64").
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert _numbers(4, 1234567).tolist() == published


@settings(max_examples=50)
@given(st.integers(5, 300), st.integers(0, 2**64 - 1))
def test_split_by_seed_has_the_shares_and_repeats(count, seed):
    assigned = split_rows(count, 0.2, 0.2, seed)
    assert assigned.dtype == np.int8
    assert np.bincount(assigned, minlength=3).tolist() == [
        count - 2 * round(0.2 * count),
        round(0.2 * count),
        round(0.2 * count),
    ]
    assert np.array_equal(assigned, split_rows(count, 0.2, 0.2, seed))


def test_split_looks_random_and_depends_on_the_seed():
    one, two = (split_rows(10_000, 0.3, 0, seed) == TEST for seed in (1, 2))
    assert abs(np.mean(one & two) - 0.09) < 0.01
    assert abs(np.mean(one[:5000]) - 0.3) < 0.02
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.04


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 30), min_size=60, max_size=120).filter(lambda g: 4 * max(map(g.count, g)) < len(g)),
    st.integers(0, 1000),
)
def test_split_keeps_groups_whole(groups, seed):
    assigned = split_rows(len(groups), 0.25, 0.25, seed, groups)
    for group in set(groups):
        assert len(set(assigned[np.array(groups) == group])) == 1
    largest = max(map(groups.count, groups))
    for part in (TEST, VALIDATION):
        assert 0 <= np.sum(assigned == part) - round(0.25 * len(groups)) < largest


def test_split_by_time_sets_the_latest_share_apart():
    times = np.array(["2024-05-01", "2024-01-01", "2024-06-01", "2024-02-01", "2024-03-01"], dtype="datetime64[D]")
    assert split_rows(5, 0.4, 0, 0, times=times).tolist() == [OUT_OF_TIME, TRAIN, OUT_OF_TIME, TRAIN, TRAIN]
    assigned = split_rows(1000, 0.2, 0.1, 0, times=np.arange(1000) % 500, out_of_time=0.3)
    assert np.bincount(assigned).tolist() == [400, 100, 200, 300]
    assert np.array_equal(assigned == OUT_OF_TIME, np.arange(1000) % 500 >= 350)


def test_split_by_time_never_parts_a_moment_or_a_group():
    assert split_rows(4, 0.25, 0, 0, times=[1, 2, 2, 1]).tolist() == [TRAIN, OUT_OF_TIME, OUT_OF_TIME, TRAIN]
    late_once = split_rows(5, 0.2, 0, 0, groups=["a", "b", "a", "c", "c"], times=[1, 2, 9, 3, 4])
    assert late_once.tolist() == [OUT_OF_TIME, TRAIN, OUT_OF_TIME, TRAIN, TRAIN]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": 0.6, "validation": 0.5}, "leave rows for training"),
        ({"test": -0.1, "validation": 0}, "leave rows for training"),
        ({"test": 0.01, "validation": 0}, "without rows"),
        ({"test": 0.2, "validation": 0, "groups": ["a"] * 10}, "without rows"),
        ({"test": 0.2, "validation": 0, "groups": ["a"] * 9}, "each of the 10 rows"),
        ({"test": 0.2, "validation": 0, "groups": [*range(9), None]}, "missing"),
        ({"test": 0.2, "validation": 0, "groups": np.array([*range(9), "a"], object)}, "all numbers or all text"),
        ({"test": 0.2, "validation": 0, "times": [7] * 10}, "different times"),
        ({"test": 0.2, "validation": 0, "times": [*range(9), np.nan]}, "a time for each"),
        ({"test": 0.2, "validation": 0, "out_of_time": 0.2}, "needs the times"),
        ({"test": 0.2, "validation": 0, "seed": -1}, "seed"),
        ({"test": 0.2, "validation": 0, "count": 0}, "at least one row"),
    ],
)
def test_split_refuses(arguments, message):
    with pytest.raises(UsageError, match=message):
        split_rows(**{"count": 10, "seed": 1} | arguments)


@given(st.integers(4, 200), st.integers(2, 4), st.integers(0, 99))
def test_folds_are_even(count, folds, seed):
    sizes = np.bincount(k_folds(count, folds, seed), minlength=folds)
    assert sizes.sum() == count and sizes.max() - sizes.min() <= 1


@given(st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=60).filter(lambda g: len(set(g)) >= 3))
def test_folds_keep_groups_whole(groups):
    assigned = k_folds(groups, 3, seed=4)
    assert set(assigned) == {0, 1, 2}
    assert len(set(zip(groups, assigned, strict=True))) == len(set(groups))


def test_folds_depend_on_the_seed_and_need_enough_groups():
    assert not np.array_equal(k_folds(50, 5, seed=1), k_folds(50, 5, seed=2))
    with pytest.raises(UsageError, match="2 to 2 folds"):
        k_folds(["a", "b", "a"], 3, seed=1)


@pytest.mark.parametrize("threshold", [{}, {"top_share": 0.03}, {"threshold": 0.5}])
def test_evaluation_is_plain_json(threshold):
    found = evaluate(*sample(), draws=50, **threshold)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    assert found.to_dict()["precision_at"].keys() == {"100", "1000"}
    assert found.auc_low < found.auc < found.auc_high


def test_evaluation_says_how_the_threshold_was_chosen():
    labels, scores = sample()
    best = evaluate(labels, scores, draws=10)
    assert best.threshold_rule == "ks"
    false_rate = best.confusion.false_positives / (best.people - best.positives)
    assert best.confusion.recall - false_rate == pytest.approx(best.ks)
    top = evaluate(labels, scores, draws=10, top_share=0.03)
    assert (top.threshold_rule, top.confusion.flagged) == ("top share", 60)
    fixed = evaluate(labels, scores, draws=10, threshold=0.5)
    assert (fixed.threshold_rule, fixed.confusion.threshold) == ("given", 0.5)
    with pytest.raises(UsageError, match="either a threshold or a top share"):
        evaluate(labels, scores, threshold=0.5, top_share=0.1)
    with pytest.raises(UsageError, match="top share must be"):
        evaluate(labels, scores, top_share=1.5)


def test_thinned_roc_keeps_the_curve():
    labels, scores = sample(50_000)
    curve = np.array(evaluate(labels, scores, draws=2).roc)
    assert len(curve) <= 500
    assert curve[0].tolist() == [0, 0] and curve[-1].tolist() == [1, 1]
    assert np.all(np.diff(curve, axis=0) >= 0)
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(auc(labels, scores), abs=5e-4)


def test_distribution_counts_every_row():
    labels, scores = sample()
    found = evaluate(labels, np.where(scores > 0.5, 1.0, scores), draws=2).distribution
    assert (sum(found.positives), sum(found.negatives)) == (labels.sum(), (1 - labels).sum())
    assert len(found.edges) == len(found.positives) + 1 and found.log_odds
    margins = evaluate(labels, np.log(scores), draws=2, probabilities=False)
    assert margins.calibration is None and not margins.distribution.log_odds
    assert sum(margins.distribution.positives) == labels.sum()


def test_a_useless_score_is_evaluated_too():
    found = evaluate([0, 1, 0, 1], [0.5] * 4, draws=20)
    assert (found.auc, found.ks, found.lift[0].lift) == (0.5, 0.0, 1.0)
    assert found.confusion.flagged == 4 and found.precision_at == {}


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0, 0], [1, 2, 3], "3 rows are all 0"),
        ([1, 1, 1], [1, 2, 3], "3 rows are all 1"),
        ([], [], "0 rows are none"),
        ([0, 1, 2], [1, 2, 3], "0 or 1"),
        ([0, np.nan, 1], [1, 2, 3], "0 or 1"),
        ([0, 1, 1], [1, np.nan, np.inf], "2 of the 3 scores are missing or infinite"),
        ([0, 1, 1], ["a", "b", "c"], "scores that are numbers"),
        ([0, 1], [1, 2, 3], "2 labels and 3 scores"),
        ([0, 1], [[1], [2]], "one dimension"),
    ],
)
@pytest.mark.parametrize("figure", [auc, auc_interval, ks, lift_and_gain, calibration, evaluate])
def test_bad_input_is_a_usage_error(figure, labels, scores, message):
    with pytest.raises(UsageError, match=message):
        figure(labels, scores)


@pytest.mark.parametrize("bands", [0, 5])
def test_bands_need_rows(bands):
    with pytest.raises(UsageError, match="4 rows fit into 1 to 4 bands"):
        lift_and_gain([0, 1, 0, 1], [1, 2, 3, 4], bands)
