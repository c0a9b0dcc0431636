"""The search for the best setting: equality with scikit-learn, consent, what each side hears, and bad peers."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from dealer import DealtReceiver, DealtSender
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedbank.errors import FedbankError, PeerError, UsageError
from fedbank.models import model_search
from fedbank.models.bin_counts import InputError
from fedbank.models.grid_search import ActiveSearch, PassiveSearch
from fedbank.models.logistic_design import LogisticParameters
from fedbank.models.logistic_regression import ActiveLogisticRegression, PassiveLogisticRegression
from fedbank.models.model_search import (
    BestSetting,
    Consent,
    Folds,
    SearchTerms,
    active_search,
    passive_search,
)
from fedbank.models.search_plan import ESTIMATE_ERROR, SearchPlan
from fedbank.protocols import plain_product
from fedbank.talk.codec import encode

PEOPLE = 300
RANDOM = np.random.default_rng(3)
OWN, THEIRS = RANDOM.normal(size=(PEOPLE, 2)), RANDOM.normal(size=(PEOPLE, 3))
LABELS = (OWN[:, 0] - THEIRS[:, 1] + RANDOM.normal(size=PEOPLE) > 0.8).astype(int)
BRIEF = SearchPlan((LogisticParameters(passes=1),), folds=2, final="none")
GRID = {"C": [0.02, 0.5], "class_weight": [None, {"good": 0.5, "bad": 1.0}]}
SHORT = {"passes": 26, "tolerance": 2e-3, "engine": "plaintext"}


def dealt():
    return (DealtSender(3), DealtReceiver(4)), (DealtReceiver(3), DealtSender(4))


def searched(converse, plan, own=OWN, theirs=THEIRS, labels=LABELS, confirm=(True, True), engine=plain_product, **more):
    ours, others = dealt()
    return converse(
        lambda peer: active_search(peer, own, labels, plan, confirm=confirm[0], engine=engine, sources=ours, **more),
        lambda peer: passive_search(peer, theirs, plan, confirm=confirm[1], engine=engine, sources=others),
    )


@pytest.fixture(scope="module")
def estimators(converse):
    """A search with four candidates, a final model, and its scores of everybody."""
    active = ActiveSearch(ActiveLogisticRegression(**SHORT), GRID, folds=2)
    passive = PassiveSearch(PassiveLogisticRegression(**SHORT), {"C": GRID["C"]}, folds=2, variants=2)
    names = np.where(LABELS, "bad", "good")
    ours, others = dealt()

    def play_active(peer):
        found = clone(active).fit(OWN, names, peer=peer, confirm=True, sources=ours, folds=np.arange(PEOPLE) % 2)
        chances = found.predict_proba(OWN, peer=peer)
        assert found.score(OWN, names, peer=peer) == roc_auc_score(LABELS, 1 - chances[:, 1])
        return found, chances

    def play_passive(peer):
        found = clone(passive).fit(THEIRS, peer=peer, confirm=True, sources=others)
        found.answer(THEIRS, peer=peer)
        found.answer(THEIRS, peer=peer)
        return found

    return converse(play_active, play_passive)


@pytest.fixture(scope="module")
def reference(estimators):
    """The same search on the joined table."""
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=10_000))
    grid = {
        "logisticregression__C": GRID["C"],
        # the labels sort as bad, good
        "logisticregression__class_weight": [None, {"bad": 1.0, "good": 0.5}],
    }
    search = GridSearchCV(model, grid, cv=PredefinedSplit(estimators.left[0].folds_[0]), scoring="roc_auc")
    return search.fit(np.c_[OWN, THEIRS], np.where(LABELS, "bad", "good"))


class TestEquality:
    def test_scores_of_each_fold_are_those_of_grid_search(self, estimators, reference):
        found = estimators.left[0].cv_results_
        for fold in range(2):
            name = f"split{fold}_test_score"
            assert np.abs(found[name] - reference.cv_results_[name]).max() <= 0.001
        assert np.abs(found["mean_test_score"] - reference.cv_results_["mean_test_score"]).max() <= 0.001
        assert np.abs(found["std_test_score"] - reference.cv_results_["std_test_score"]).max() <= 0.001

    def test_the_best_model_is_that_of_grid_search(self, estimators, reference):
        (active, probabilities), passive = estimators.left, estimators.right
        assert active.best_index_ == reference.best_index_
        assert active.best_params_["C"] == passive.best_params_["C"] == reference.best_params_["logisticregression__C"]
        assert active.best_score_ == pytest.approx(reference.best_score_, abs=0.001)
        assert np.abs(probabilities - reference.predict_proba(np.c_[OWN, THEIRS])).max() < 1e-3
        weights = np.r_[active.best_estimator_.coef_[0], passive.best_estimator_.coef_[0]]
        assert np.abs(weights - reference.best_estimator_[-1].coef_[0]).max() < 1e-3

    def test_scores_out_of_fold_are_those_of_cross_val_predict(self, estimators):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.02, tol=1e-10, max_iter=10_000))
        folds = PredefinedSplit(estimators.left[0].folds_[0])
        z = cross_val_predict(model, np.c_[OWN, THEIRS], 1 - LABELS, cv=folds, method="decision_function")
        assert np.abs(estimators.left[0].out_of_fold_[0, 0] - z).max() < 2e-3

    def test_results_are_a_table(self, estimators):
        active, passive = estimators.left[0], estimators.right
        table = pd.DataFrame(active.cv_results_)
        assert len(table) == 4 and set(table["param_C"]) == {0.02, 0.5}
        assert sorted(table["rank_test_score"])[0] == 1 and table["rank_test_score"][active.best_index_] == 1
        assert [one["class_weight"] for one in table["params"]] == GRID["class_weight"] * 2
        assert (table["converged"] == 1).all() and list(passive.cv_results_["converged"]) == [1] * 4
        assert not any("score" in name for name in passive.cv_results_)
        assert np.array_equal(active.folds_, passive.folds_)

    def test_log_loss_and_ks(self, converse):
        for metric in ("log loss", "ks"):
            found = searched(converse, dataclasses.replace(BRIEF, metric=metric)).left
            assert found.values.shape == (1, 1, 2)
            held = found.folds[0] == 1
            z = found.scores[0, 0, held]
            chance = 1 / (1 + np.exp(-z))
            gap = max(abs((z[LABELS[held] == 1] <= t).mean() - (z[LABELS[held] == 0] <= t).mean()) for t in z)
            expected = -log_loss(LABELS[held], chance) if metric == "log loss" else gap
            assert found.values[0, 0, 1] == pytest.approx(expected)

    def test_private_engine_finds_the_same_and_moves_as_many_bytes_as_were_estimated(self, converse):
        from fedbank.protocols import private_product

        plan, folds = dataclasses.replace(BRIEF, settings=(LogisticParameters(passes=2),)), np.arange(PEOPLE) % 2
        plain = searched(converse, plan, folds=folds).left
        private = converse(
            lambda peer: active_search(peer, OWN, LABELS, plan, confirm=True, folds=folds, engine=private_product),
            lambda peer: passive_search(peer, THEIRS, plan, confirm=True),
        )
        assert np.abs(private.left.scores - plain.scores).max() < 1e-3
        estimate = plan.disclosures(PEOPLE, 3, 3).line_bytes
        assert private.left_peer.bytes_moved == pytest.approx(estimate, rel=ESTIMATE_ERROR)


class TestConventions:
    def test_searches_are_cloned_and_know_their_plan(self):
        active = ActiveSearch(
            ActiveLogisticRegression(C=3.0, weights="shared"), [{"l1_ratio": [0.5], "penalty": ["elasticnet"]}]
        )
        copy = clone(active).set_params(folds=4, estimator__passes=7)
        assert copy.plan.settings[0].l1_ratio == 0.5 and copy.plan.settings[0].passes == 7
        assert (copy.plan.final, copy.plan.folds, active.folds) == ("shared", 4, 5)
        assert clone(active).set_params(refit=False).plan.final == "none"
        passive = PassiveSearch(PassiveLogisticRegression(C=3.0, weights="shared"), active.param_grid)
        assert active.plan == passive.plan

    def test_class_weights_are_variants_of_every_setting(self):
        grid = {"C": [1, 2], "class_weight": ["balanced", None], "passes": [5, 6]}
        active = ActiveSearch(ActiveLogisticRegression(), grid)
        passive = PassiveSearch(PassiveLogisticRegression(), {"C": [1, 2], "passes": [5, 6]}, variants=2)
        assert active.plan == passive.plan
        with pytest.raises(InputError, match="same class weights"):
            ActiveSearch(ActiveLogisticRegression(), [{"C": [1]}, {"C": [2], "class_weight": ["balanced"]}]).plan  # noqa: B018

    def test_nothing_is_answered_before_a_fit(self, saying):
        search = ActiveSearch(ActiveLogisticRegression(), {"C": [1.0]})
        for method in (search.decision_function, search.predict_proba, search.predict):
            with pytest.raises(NotFittedError):
                method(OWN, peer=saying([]))
        with pytest.raises(NotFittedError):
            PassiveSearch(PassiveLogisticRegression(), {"C": [1.0]}).answer(THEIRS, peer=saying([]))

    def test_trainings_that_have_not_converged_are_told(self, no_trainings, saying, monkeypatch):
        search = PassiveSearch(PassiveLogisticRegression(), {"C": [1.0, 2.0]}, folds=2, refit=False)
        search.fit(THEIRS, peer=saying([*heard(search.plan), folds(), BestSetting(1)]), confirm=True)
        assert search.best_params_ == {"C": 2.0}
        monkeypatch.setattr(
            model_search.logistic, "passive", lambda *given, **named: iter([SimpleNamespace(short=False)])
        )
        with pytest.warns(ConvergenceWarning, match="In 4 of 4 trainings"):
            search.fit(THEIRS, peer=saying([*heard(search.plan), folds(), BestSetting(1)]), confirm=True)


class TestConsent:
    @pytest.mark.parametrize("confirm", [False, None, "yes", 1])
    def test_nothing_is_said_without_it(self, saying, confirm):
        for role in (
            lambda peer: active_search(peer, OWN, LABELS, BRIEF, confirm=confirm),
            lambda peer: passive_search(peer, THEIRS, BRIEF, confirm=confirm),
        ):
            peer = saying([])
            with pytest.raises(UsageError, match=r"confirm=True, or a function"):
                role(peer)
            assert peer.transcript == []

    def test_both_are_shown_the_same_text(self, converse):
        shown = []

        def show(text):
            shown.append(text)
            return True

        searched(converse, BRIEF, confirm=(show, show))
        assert (
            shown
            == [
                "PLAINTEXT: the engine protects nothing; both can read all of the other's values.\n"
                + str(BRIEF.disclosures(PEOPLE, 3, 3))
            ]
            * 2
        )

    @pytest.mark.parametrize("answer", [False, None, "yes"])
    @pytest.mark.parametrize("side", [0, 1])
    def test_whoever_does_not_agree_stops_both(self, converse, answer, side):
        confirm = [True, True]
        confirm[side] = lambda text: answer
        ends = []

        def kept(role):
            def play(peer):
                try:
                    role(peer)
                except FedbankError as error:
                    ends.append(error)

            return play

        met = converse(
            kept(lambda peer: active_search(peer, OWN, LABELS, BRIEF, confirm=confirm[0], engine=plain_product)),
            kept(lambda peer: passive_search(peer, THEIRS, BRIEF, confirm=confirm[1], engine=plain_product)),
        )
        assert {type(end) for end in ends} == {UsageError, PeerError}
        assert {frame.kind for frame in met.left_peer.transcript} <= {"SearchTerms", "Consent"}


class TestWhatIsHeard:
    def test_kinds_and_counts(self, estimators):
        kinds = Counter((frame.direction, frame.kind) for frame in estimators.left_peer.transcript)
        own = {"SearchTerms": (1, 1), "Consent": (1, 1), "Folds": (1, 0), "BestSetting": (1, 0), "OwnWeights": (1, 1)}
        own |= {
            "LogisticTerms": (9, 9),
            "OpenedBits": (9, 9),
            "PartialScores": (0, 10),
        }  # 8 trainings, the final model; 2 scorings
        for kind, (sent, received) in own.items():
            assert (kinds["sent", kind], kinds["received", kind]) == (sent, received), kind
        shares = {"PlainNumbers", "PlainFactors", "PlainShare", "MaskedChoices", "MaskedTables"}
        assert {kind for _, kind in kinds} == set(own) | shares

    def test_no_weight_is_opened_without_a_final_model(self, converse):
        met = searched(converse, BRIEF)
        assert "OwnWeights" not in {frame.kind for frame in met.left_peer.transcript}

    def test_the_shape_of_the_conversation_depends_on_public_sizes_only(self, converse):
        random = np.random.default_rng(8)
        others = random.normal(size=OWN.shape) ** 3, random.normal(size=THEIRS.shape), (random.random(PEOPLE) < 0.1)
        assert others[2].sum() != LABELS.sum()
        plan = dataclasses.replace(BRIEF, variants=2)
        first = searched(converse, plan, class_weights=(None, {0: 0.5, 1: 1.0}))
        second = searched(converse, plan, *others, class_weights=({0: 1, 1: 0.1}, {0: 0.2, 1: 0.3}))
        assert first.left_peer.transcript == second.left_peer.transcript

    def test_public_folds_are_not_sent(self, converse):
        met = searched(converse, dataclasses.replace(BRIEF, seed=5))
        assert np.array_equal(met.left.folds, met.right.folds)
        assert "Folds" not in {frame.kind for frame in met.left_peer.transcript}

    def test_results_are_not_shown(self, converse):
        met = searched(converse, BRIEF)
        for found in (met.left, met.right):
            assert "0." not in repr(found) and "[" not in repr(found)


class TestWhatScoresTell:
    """Attacks of an active party on what it was given; the disclosures say that they work."""

    def test_as_many_scores_as_columns_and_a_few_known_people_give_all_columns(self, estimators):
        active = estimators.left[0]
        assert active.plan.scores_each >= THEIRS.shape[1]
        held = active.folds_[0] == 0
        z, known = active.out_of_fold_[0][:, held].T, np.c_[np.ones(held.sum()), OWN[held], THEIRS[held]]
        weights = np.linalg.lstsq(known[:12], z[:12], rcond=None)[0]
        theirs = np.linalg.lstsq(weights[3:].T, (z - known[:, :3] @ weights[:3]).T, rcond=None)[0].T
        for column in range(3):
            assert np.corrcoef(theirs[12:, column], THEIRS[held][12:, column])[0, 1] > 0.99

    def test_final_weights_give_the_passive_part_nearly(self, estimators):
        active, passive = estimators.left[0], estimators.right
        best, other = active.best_estimator_, passive.best_estimator_
        z = active.out_of_fold_[0, active.best_index_]
        guess = z - ((OWN - best.mean_) / best.scale_) @ best.coef_[0]
        part = ((THEIRS - other.mean_) / other.scale_) @ other.coef_[0]
        assert np.corrcoef(guess, part)[0, 1] > 0.95


@pytest.fixture
def no_trainings(monkeypatch):
    """Trainings that say nothing and score everybody by the setting's C."""

    def trained(peer, X, *rest, **named):
        yield SimpleNamespace(short=True, C=next(one.C for one in rest if isinstance(one, LogisticParameters)))

    monkeypatch.setattr(model_search.logistic, "active", trained)
    monkeypatch.setattr(model_search.logistic, "passive", trained)
    monkeypatch.setattr(
        model_search.logistic_opening, "active_scores", lambda peer, state, design, X, **named: state.C * X[:, 0]
    )
    monkeypatch.setattr(model_search.logistic_opening, "passive_scores", lambda *given, **named: None)


THREE = SearchPlan(tuple(LogisticParameters(C=C) for C in (2.0, 1.0, 3.0)), folds=2, metric="auc", final="none")


def heard(plan=THREE, people=PEOPLE, columns=3, given=1):
    return [SearchTerms(people, columns, plan.digest), Consent(given)]


def folds(numbers=None, repeats=1):
    drawn = np.tile(np.arange(PEOPLE) % 2, (repeats, 1)) if numbers is None else np.array([numbers])
    return Folds(drawn.astype(np.uint8))


class TestChoice:
    def test_the_first_wins_a_tie_and_its_number_is_told(self, no_trainings, saying):
        peer = saying(heard())
        found = active_search(peer, OWN, LABELS, THREE, confirm=True)
        assert found.best == 0 and np.ptp(found.values) < 1
        assert peer.transcript[-1].kind == "BestSetting"

    def test_the_best_of_all_is_found_and_its_class_weight_kept(self, no_trainings, converse):
        plan = dataclasses.replace(THREE, metric="log loss", variants=2, repeats=2)
        met = searched(converse, plan, labels=(OWN[:, 0] > 0).astype(int), class_weights=(None, {0: 0.5, 1: 0.5}))
        assert met.left.best == 4 and met.right.setting == 2  # C = 3 is nearest to 0 and 1
        assert met.left.scores.shape == (2, 6, PEOPLE) and met.left.short.all() and met.right.short.all()


class TestBadPeers:
    def run_active(self, peer, **more):
        return active_search(peer, OWN, LABELS, THREE, confirm=True, **more)

    def run_passive(self, peer):
        return passive_search(peer, THEIRS, THREE, confirm=True)

    def test_spoilt_frames(self, no_trainings, saying, spoil):
        whole = [*heard(), folds(), BestSetting(1)]
        assert self.run_passive(saying(whole)).setting == 1
        for at in range(len(whole)):
            said = [*whole[:at], spoil(encode(whole[at])), *whole[at + 1 :]]
            with pytest.raises(PeerError):
                self.run_passive(saying(said))
            if at < 2:
                with pytest.raises(PeerError):
                    self.run_active(saying(said[:2]))

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            (heard(people=7), "7 people"),
            (heard(plan=BRIEF), "another plan"),
            (heard(columns=-1), "-1 columns"),
            (heard(columns=5000), "5000 columns"),
            (heard(given=0), "did not agree"),
            (heard(given=2), "did not agree"),
            (heard()[::-1], "expected SearchTerms, found Consent"),
        ],
    )
    def test_terms(self, no_trainings, saying, said, words):
        for run in (self.run_active, self.run_passive):
            with pytest.raises(PeerError, match=words):
                run(saying(said))

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            (folds(repeats=2), "at most 325 bytes"),
            (folds(np.zeros(PEOPLE)), "every fold of 0 to 1"),
            (folds(np.arange(PEOPLE) % 3), "every fold of 0 to 1"),
            (folds(np.arange(PEOPLE - 1) % 2), "expected 300, found 299"),
        ],
    )
    def test_folds(self, no_trainings, saying, message, words):
        with pytest.raises(PeerError, match=words):
            self.run_passive(saying([*heard(), message]))

    @pytest.mark.parametrize("setting", [-1, 3])
    def test_best_setting(self, no_trainings, saying, setting):
        with pytest.raises(PeerError, match=f"setting {setting}"):
            self.run_passive(saying([*heard(), folds(), BestSetting(setting)]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"y": LABELS[:-1]}, "300 rows"),
        ({"y": np.zeros(PEOPLE)}, "both must occur"),
        ({"X": np.full_like(OWN, np.nan)}, "NaN"),
        ({"class_weights": (None, "balanced")}, "1 class weights"),
        ({"class_weights": ("balanced",)}, "weight_bound 1"),
        ({"sample_weight": np.full(PEOPLE, -1.0)}, "at least 0"),
        ({"sample_weight": np.full(PEOPLE, 1.5)}, "largest weight in a training is 1.5"),
        ({"sample_weight": [1.0]}, "300 finite"),
    ],
)
def test_bad_inputs_are_refused_before_a_word_is_said(saying, arguments, words):
    peer = saying(heard())
    given = {"X": OWN, "y": LABELS} | arguments
    with pytest.raises(InputError, match=words):
        active_search(peer, given.pop("X"), given.pop("y"), THREE, confirm=True, **given)
    assert peer.transcript == []
