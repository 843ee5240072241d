import json

import numpy as np
import pandas as pd
import pytest

from workflows.survival.evaluation import METRICS, Evaluation, SexOnly, _folds, evaluate
from workflows.survival.training import Parameters


@pytest.fixture(scope="module")
def evaluation(titanic: pd.DataFrame) -> Evaluation:
    return evaluate(titanic, Parameters(), repeats=1)


def test_folds_are_disjoint_complete_and_grouped_by_ticket(titanic: pd.DataFrame) -> None:
    left_out: dict[tuple[str, int], list[int]] = {}
    for split, repeat, _, fitted, test in _folds(titanic, folds=5, repeats=2, seed=0):
        assert not set(fitted) & set(test)
        left_out.setdefault((split, repeat), []).extend(test)
        if split == "grouped":
            assert not set(titanic["ticket"].iloc[fitted]) & set(titanic["ticket"].iloc[test])
        else:
            assert titanic["survived"].iloc[test].mean() == pytest.approx(0.384, abs=0.01)
    assert set(left_out) == {("stratified", 0), ("stratified", 1), ("grouped", 0), ("grouped", 1)}
    assert all(sorted(rows) == list(range(891)) for rows in left_out.values())
    assert left_out[("stratified", 0)] != left_out[("stratified", 1)]


def test_model_beats_both_baselines_in_both_splits(evaluation: Evaluation) -> None:
    table = evaluation.table().set_index(["split", "classifier"])
    for split in ("stratified", "grouped"):
        for baseline in ("majority class", "sex only"):
            for metric, better in (("accuracy", 1), ("roc_auc", 1), ("brier", -1), ("log_loss", -1)):
                gain = table.loc[(split, "model"), metric] - table.loc[(split, baseline), metric]
                assert gain * better > 0, (split, baseline, metric)


def test_figures(evaluation: Evaluation) -> None:
    """Between a model that has stopped learning and one that has seen the answers."""
    table = evaluation.table().set_index(["split", "classifier"])
    assert 0.82 < table.loc[("stratified", "model"), "accuracy"] < 0.86
    assert 0.86 < table.loc[("stratified", "model"), "roc_auc"] < 0.91
    assert 0.10 < table.loc[("stratified", "model"), "brier"] < 0.13
    assert 0.80 < table.loc[("grouped", "model"), "accuracy"] < 0.84
    assert table.loc[("stratified", "majority class"), "accuracy"] == pytest.approx(0.616, abs=0.001)
    assert table.loc[("stratified", "sex only"), "accuracy"] == pytest.approx(0.787, abs=0.001)
    assert (table[[f"{metric}_spread" for metric in METRICS]] < 0.1).all(axis=None)


def test_outcomes_without_a_pattern_are_not_predicted(titanic: pd.DataFrame) -> None:
    """A leak from outcomes into features would predict shuffled outcomes better than chance."""
    shuffled = titanic.assign(survived=np.random.default_rng(0).permutation(titanic["survived"]))
    table = evaluate(shuffled, Parameters(), repeats=1).table().set_index(["split", "classifier"])
    assert table.loc[("stratified", "model"), "roc_auc"] < 0.57
    assert table.loc[("grouped", "model"), "roc_auc"] < 0.57


def test_calibration_and_confusion_count_every_passenger(evaluation: Evaluation) -> None:
    bins = evaluation.calibration("stratified")
    assert bins["predictions"].sum() == 891
    assert bins["predicted"].is_monotonic_increasing
    error = (bins["predictions"] * (bins["predicted"] - bins["survived"]).abs()).sum() / 891
    assert error < 0.06
    (_, false_positive), (false_negative, true_positive) = evaluation.confusion("stratified")
    assert false_negative + true_positive == 342
    assert np.sum(evaluation.confusion("stratified")) == 891
    scores = evaluation.scores.query("split == 'stratified' and classifier == 'model'")["accuracy"]
    assert 1 - (false_positive + false_negative) / 891 == pytest.approx(scores.mean(), abs=0.002)


def test_threads_do_not_change_the_result_and_it_is_json(titanic: pd.DataFrame, evaluation: Evaluation) -> None:
    other = evaluate(titanic, Parameters(), repeats=1, workers=1)
    assert json.dumps(other.to_dict()) == json.dumps(evaluation.to_dict())


def test_sex_only() -> None:
    people = pd.DataFrame({"sex": ["male", "male", "female", "female"]})
    baseline = SexOnly().fit(people, np.array([0, 1, 1, 1]))
    probability = baseline.predict_proba(pd.DataFrame({"sex": ["female", "male", None]}))
    np.testing.assert_allclose(probability, [[0, 1], [0.5, 0.5], [0.25, 0.75]])
