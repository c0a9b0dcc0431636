"""Champion and challenger: DeLong against its definition and the bootstrap, swap sets by hand, verdicts, the report."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fedbank.errors import UsageError
from fedbank.models.champion import VERDICTS, SwapCell, compare, delong, swap_set
from fedbank.models.evaluation import ks, stability_index
from fedbank.party.report import TEXTS, ReportContent, write_report

RANDOM = np.random.default_rng(11)
RISK = RANDOM.normal(size=400)
LABELS = (RANDOM.random(400) < 1 / (1 + np.exp(1.2 - 1.6 * RISK))).astype(int)
GOOD_MODEL = 1.6 * RISK - 1.2
POOR_MODEL = 0.9 * (RISK + RANDOM.normal(size=400)) - 1.1


def chance(z):
    return 1 / (1 + np.exp(-z))


def by_ranks(labels, scores):
    """The area from the bads' ranks."""
    bads = labels.sum()
    return (rankdata(scores)[labels == 1].sum() - bads * (bads + 1) / 2) / bads / (len(labels) - bads)


def by_definition(labels, *scores):
    """Areas and their covariance from every pair of a bad and a good person."""
    bad = np.asarray(labels) == 1
    wins = []
    for one in scores:
        s = np.asarray(one, dtype=float)
        above, equal = s[bad][:, None] > s[~bad], s[bad][:, None] == s[~bad]
        wins.append(above + equal / 2)
    rows, columns = (np.stack([one.mean(axis=axis) for one in wins]) for axis in (1, 0))
    return rows.mean(axis=1), np.cov(rows) / bad.sum() + np.cov(columns) / (~bad).sum()


class TestDeLong:
    @given(st.integers(0, 2**32), st.integers(1, 8))
    def test_equals_its_definition(self, seed, values):
        random = np.random.default_rng(seed)
        labels = random.permutation([0, 0, 1, 1, *random.integers(0, 2, 20)])
        scores = random.integers(0, values, (2, len(labels)))  # many ties
        areas, covariance = delong(labels, *scores)
        expected = by_definition(labels, *scores)
        assert areas == pytest.approx(expected[0])
        assert areas == pytest.approx([roc_auc_score(labels, one) for one in scores])
        assert covariance == pytest.approx(expected[1])

    def test_agrees_with_the_bootstrap(self):
        random = np.random.default_rng(2)
        drawn = []
        for _ in range(1500):
            rows = random.integers(0, 400, 400)
            drawn.append([by_ranks(LABELS[rows], one[rows]) for one in (POOR_MODEL, GOOD_MODEL)])
        _, covariance = delong(LABELS, POOR_MODEL, GOOD_MODEL)
        assert covariance == pytest.approx(np.cov(np.array(drawn).T), rel=0.15)
        found = compare(LABELS, POOR_MODEL, GOOD_MODEL)
        low, high = np.quantile(np.diff(drawn, axis=1), [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)

    def test_equal_rankings_differ_by_nothing(self):
        found = compare(LABELS, GOOD_MODEL, np.exp(GOOD_MODEL), scores="points")
        assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
        assert found.verdict == "unclear"

    @pytest.mark.parametrize("labels", [[0, 1, 1], [1, 0, 0]])
    def test_two_people_of_each_label_are_needed(self, labels):
        with pytest.raises(UsageError, match="two people of each label"):
            delong(labels, [1, 2, 3])


class TestSwapSet:
    def test_by_hand(self):
        #           ours: a b c approved; theirs: a b d
        labels, ours, theirs = [0, 0, 1, 0, 1], [1, 2, 3, 4, 5], [1, 2, 4, 3, 5]
        found = swap_set(labels, ours, theirs, approval_rate=0.6)
        assert found.both == SwapCell(2, 0) and found.neither == SwapCell(1, 1)
        assert found.swapped_out == SwapCell(1, 1) and found.swapped_in == SwapCell(1, 0)
        assert (found.swapped_out.rate, found.swapped_in.rate) == (1.0, 0.0)

    @given(st.integers(0, 2**32), st.integers(1, 6), st.floats(0.05, 0.95))
    def test_both_approve_the_same_share_and_nobody_is_lost(self, seed, values, rate):
        random = np.random.default_rng(seed)
        labels, ours, theirs = random.integers(0, 2, 30), *random.integers(0, values, (2, 30))
        found = swap_set(labels, ours, theirs, approval_rate=rate)
        cells = (found.both, found.swapped_in, found.swapped_out, found.neither)
        assert sum(cell.people for cell in cells) == pytest.approx(30)
        assert sum(cell.bads for cell in cells) == pytest.approx(labels.sum())
        assert found.swapped_in.people == pytest.approx(found.swapped_out.people)
        assert found.both.people + found.swapped_in.people == pytest.approx(30 * rate)

    def test_nobody_is_swapped_between_equal_rankings(self):
        found = swap_set(LABELS, GOOD_MODEL, 2 * GOOD_MODEL, approval_rate=0.7)
        assert found.swapped_in.rate is None and found.swapped_out.rate is None


class TestComparison:
    def test_figures_are_those_of_each_model(self):
        found = compare(LABELS, POOR_MODEL, GOOD_MODEL, approval_rate=0.7)
        for figures, z in ((found.champion, POOR_MODEL), (found.challenger, GOOD_MODEL)):
            assert figures.auc == pytest.approx(roc_auc_score(LABELS, z))
            assert figures.gini == pytest.approx(2 * figures.auc - 1)
            assert figures.ks == ks(LABELS, z)
            assert figures.log_loss == pytest.approx(log_loss(LABELS, chance(z)))
            assert figures.calibration.brier == pytest.approx(brier_score_loss(LABELS, chance(z)))
        assert found.stability == pytest.approx(stability_index(chance(POOR_MODEL), chance(GOOD_MODEL)))
        assert (found.people, found.bads) == (400, LABELS.sum())
        assert found.low < found.difference < found.high and 0 < found.p_value < 0.01
        same = compare(LABELS, chance(POOR_MODEL), chance(GOOD_MODEL), scores="probabilities", approval_rate=0.7)
        assert same.rows() == found.rows() and len(found.rows()) == 6
        points = compare(LABELS, POOR_MODEL, GOOD_MODEL, scores="points")
        assert [row[0] for row in points.rows()] == ["auc", "gini", "ks"] and points.stability is None

    def test_verdicts(self):
        found = compare(LABELS, POOR_MODEL, GOOD_MODEL)
        assert found.verdict == "replace"
        assert compare(LABELS, GOOD_MODEL, POOR_MODEL).verdict == "keep: worse"
        assert compare(LABELS, POOR_MODEL, GOOD_MODEL, least_gain=found.difference).verdict == "unclear"
        assert compare(LABELS, POOR_MODEL, GOOD_MODEL, least_gain=0.5).verdict == "keep: worse"
        assert compare(LABELS, POOR_MODEL, GOOD_MODEL + 2).verdict == "keep: calibration"
        assert compare(LABELS, POOR_MODEL, GOOD_MODEL + 2, scores="points").verdict == "replace"
        swapped = dataclasses.replace(found.swap, swapped_in=SwapCell(10, 5), swapped_out=SwapCell(10, 5))
        assert dataclasses.replace(found, swap=swapped).verdict == "keep: swap"
        assert {found.recommendation, *VERDICTS.values()} == set(VERDICTS.values())

    def test_text_and_json_hold_the_figures(self):
        found = compare(LABELS, POOR_MODEL, GOOD_MODEL, names=("2023", "2024"))
        assert f"2023 | 2024\nauc: {found.champion.auc:.4f} | {found.challenger.auc:.4f}" in str(found)
        assert str(found).endswith(found.recommendation)
        read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert read["difference"] == found.difference and read["verdict"] == "replace"

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"approval_rate": 1.0}, "approval_rate=1.0"),
            ({"level": 0.0}, "level=0.0"),
            ({"scores": "logits"}, "'logits'"),
            ({"scores": "probabilities"}, "between 0 and 1"),
            ({"challenger": GOOD_MODEL[1:]}, "one label for each score"),
            ({"labels": np.zeros(400)}, "all 0"),
        ],
    )
    def test_comparisons_that_cannot_be(self, changes, words):
        given = {"labels": LABELS, "champion": POOR_MODEL, "challenger": GOOD_MODEL} | changes
        with pytest.raises(UsageError, match=words):
            compare(given.pop("labels"), given.pop("champion"), given.pop("challenger"), **given)


class TestReport:
    def page(self, folder, language="en", **changes):
        names = changes.pop("names", ("card of 2023", "card of 2024"))
        found = compare(LABELS, POOR_MODEL, GOOD_MODEL, names=names)
        content = ReportContent(
            "title",
            "party",
            "active",
            (),
            "job",
            "hash",
            comparison=dataclasses.replace(found, **changes),
            language=language,
        )
        return found, write_report(folder, content).read_text(encoding="utf-8")

    def test_section_shows_figures_swaps_and_the_rule(self, tmp_path):
        found, html = self.page(tmp_path)
        shown = ["Champion and challenger", "card of 2023", "card of 2024", f"{found.challenger.auc:.4f}", "Log loss"]
        shown += [
            f"{found.difference:+.4f}",
            "approved by the challenger only",
            "80.0%",
            found.recommendation,
            "Rule: replace",
        ]
        shown += [f"{100 * found.swap.swapped_out.rate:.1f}%"]
        assert [words for words in shown if words not in html] == []
        read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert read["comparison"]["verdict"] == found.verdict

    def test_section_in_chinese(self, tmp_path):
        _, html = self.page(tmp_path, "zh")
        for key in ("comparison", "swapped in", "verdict why", "verdict replace", "brier"):
            assert TEXTS[key]["zh"] in html
            assert TEXTS[key]["en"] not in html

    def test_names_are_escaped_and_an_empty_cell_has_no_rate(self, tmp_path):
        swap = swap_set(LABELS, GOOD_MODEL, GOOD_MODEL, approval_rate=0.7)
        _, html = self.page(tmp_path, names=("<b>a</b>", "b"), swap=swap)
        assert "<b>a</b>" not in html and "&lt;b&gt;a&lt;/b&gt;" in html
        assert "None" not in html and ">–<" in html

    def test_every_verdict_has_a_text(self):
        assert all(f"verdict {verdict}" in TEXTS for verdict in VERDICTS)
