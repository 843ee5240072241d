import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from workflows.ml_training_and_inference.evaluation import (
    BASELINES,
    METRICS,
    MODEL,
    Evaluation,
    GroupFolds,
    SexOnly,
    cross_validate,
    cross_validation_folds,
    evaluate,
    fit_calibration_line,
    log_odds,
)
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers.contract import ATTRIBUTE_NAMES, travel_groups


@pytest.fixture(scope="module")
def evaluation(titanic: pd.DataFrame) -> Evaluation:
    return evaluate(titanic, Parameters(), repeats=1)


def test_folds_are_disjoint_complete_and_grouped_by_ticket(titanic: pd.DataFrame) -> None:
    held_out_rows: dict[tuple[str, int], list[int]] = {}
    for split, repeat, _, train, held_out in cross_validation_folds(titanic, folds=5, repeats=2, seed=0):
        assert not set(train) & set(held_out)
        held_out_rows.setdefault((split, repeat), []).extend(held_out)
        if split == "grouped":
            assert not set(titanic["ticket"].iloc[train]) & set(titanic["ticket"].iloc[held_out])
        else:
            assert titanic["survived"].iloc[held_out].mean() == pytest.approx(0.384, abs=0.01)
    assert set(held_out_rows) == {("stratified", 0), ("stratified", 1), ("grouped", 0), ("grouped", 1)}
    assert all(sorted(rows) == list(range(891)) for rows in held_out_rows.values())
    assert held_out_rows[("stratified", 0)] != held_out_rows[("stratified", 1)]


def test_model_beats_every_baseline_in_both_splits(evaluation: Evaluation) -> None:
    table = evaluation.table().set_index(["split", "classifier"])
    assert list(BASELINES) == ["majority class", "sex only", "logistic regression"]
    assert list(table.index) == [(s, c) for s in ("stratified", "grouped") for c in ("model", *BASELINES)]
    for split in ("stratified", "grouped"):
        for baseline in BASELINES:
            for metric, better in (("accuracy", 1), ("roc_auc", 1), ("brier", -1), ("log_loss", -1)):
                gain = table.loc[(split, "model"), metric] - table.loc[(split, baseline), metric]
                assert gain * better > 0, (split, baseline, metric)


def test_metrics_are_plausible(evaluation: Evaluation) -> None:
    """Better than a model that has learned nothing, worse than one that has seen the outcomes."""
    table = evaluation.table().set_index(["split", "classifier"])
    assert 0.82 < table.loc[("stratified", "model"), "accuracy"] < 0.86
    assert 0.86 < table.loc[("stratified", "model"), "roc_auc"] < 0.91
    assert 0.10 < table.loc[("stratified", "model"), "brier"] < 0.13
    assert 0.80 < table.loc[("grouped", "model"), "accuracy"] < 0.84
    assert table.loc[("stratified", "majority class"), "accuracy"] == pytest.approx(0.616, abs=0.001)
    assert table.loc[("stratified", "sex only"), "accuracy"] == pytest.approx(0.787, abs=0.001)
    assert 0.81 < table.loc[("stratified", "logistic regression"), "accuracy"] < 0.83
    assert (table[[f"{metric}_spread" for metric in METRICS]] < 0.1).all(axis=None)


def test_shuffled_outcomes_cannot_be_predicted(titanic: pd.DataFrame) -> None:
    """A leak from outcomes into features would predict shuffled outcomes better than chance."""
    shuffled = titanic.assign(survived=np.random.default_rng(0).permutation(titanic["survived"]))
    model = {MODEL: lambda X, y: fit(X, y, Parameters())}
    table = cross_validate(shuffled, model, repeats=1).table().set_index(["split", "classifier"])
    assert table.loc[("stratified", "model"), "roc_auc"] < 0.57
    assert table.loc[("grouped", "model"), "roc_auc"] < 0.57


def predictions(survived: list[list[int]], probability: list[list[float]]) -> Evaluation:
    """Return an evaluation that holds only the predictions of each repeat."""
    repeats = [
        pd.DataFrame({"split": "stratified", "repeat": repeat, "survived": outcome, "probability": predicted})
        for repeat, (outcome, predicted) in enumerate(zip(survived, probability, strict=True))
    ]
    return Evaluation(scores=pd.DataFrame(), predictions=pd.concat(repeats, ignore_index=True))


def test_calibration_bins_have_equal_numbers_of_predictions() -> None:
    # Of ten passengers in bin n, n survive in the first repeat and n + 1 in the second.
    probability = np.repeat(np.arange(10) / 10, 10) + np.arange(100) / 1000
    first = np.concatenate([np.arange(10) < number for number in range(10)]).astype(int)
    second = np.concatenate([np.arange(10) < number + 1 for number in range(10)]).astype(int)
    bins = predictions([first.tolist(), second.tolist()], [probability.tolist()] * 2).calibration()
    np.testing.assert_allclose(bins["survived"], np.arange(10) / 10 + 0.05)
    np.testing.assert_allclose(bins["survived_spread"], 0.05)
    np.testing.assert_allclose(bins["predicted"], np.arange(10) * 0.11 + 0.0045)
    assert (bins["predictions"] == 20).all()


def test_roc_by_hand() -> None:
    survived = [[0, 0, 1, 1]] * 2
    evaluation = predictions(survived, [[0.1, 0.6, 0.5, 0.9], [0.1, 0.2, 0.8, 0.9]])
    roc = evaluation.roc().set_index("false_positive_rate")
    assert len(roc) == 51
    # First repeat: half of the survivors rank above the first false positive, all of them above the second victim.
    assert roc.loc[0.0].tolist() == [0, 0]
    assert roc.loc[0.02].tolist() == [0.75, 0.25]
    assert roc.loc[1.0].tolist() == [1, 0]


def test_calibration_line_recovers_slope_and_intercept() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(0, 2, 200_000)
    outcomes = (generator.random(len(true)) < 1 / (1 + np.exp(-true))).astype(int)
    assert fit_calibration_line(true, outcomes) == pytest.approx((1, 0), abs=0.02)
    # Predictions that are twice as extreme, and shifted.
    assert fit_calibration_line(2 * true - 1, outcomes) == pytest.approx((0.5, 0.5), abs=0.02)
    assert np.isfinite(log_odds([0, 0.5, 1])).all()
    assert np.isfinite(fit_calibration_line(log_odds([0, 0, 1, 1]), np.array([0, 0, 1, 1]))).all()


def test_calibration_summary_detects_overconfident_predictions() -> None:
    generator = np.random.default_rng(1)
    true = generator.uniform(0.02, 0.98, 20_000)
    outcomes = [(generator.random(len(true)) < true).astype(int).tolist() for _ in range(2)]
    good = predictions(outcomes, [true.tolist()] * 2).calibration_summary()
    extreme = 1 / (1 + np.exp(-2 * log_odds(true)))
    bad = predictions(outcomes, [extreme.tolist()] * 2).calibration_summary()
    assert list(good) == [
        *("expected_calibration_error", "expected_calibration_error_spread"),
        *("slope", "slope_spread", "intercept", "intercept_spread"),
    ]
    assert good["expected_calibration_error"] < 0.02
    assert bad["expected_calibration_error"] > 0.08
    assert good["slope"] == pytest.approx(1, abs=0.05)
    assert bad["slope"] == pytest.approx(0.5, abs=0.05)


def test_metrics_are_consistent(evaluation: Evaluation) -> None:
    for split in ("stratified", "grouped"):
        assert evaluation.calibration(split)["predictions"].sum() == 891
        rates = evaluation.roc(split)
        assert rates["true_positive_rate"].is_monotonic_increasing
        area = np.trapz(rates["true_positive_rate"], rates["false_positive_rate"])
        auc = evaluation.table().set_index(["split", "classifier"]).loc[(split, "model"), "roc_auc"]
        assert area == pytest.approx(auc, abs=0.02)
        summary = evaluation.calibration_summary(split)
        assert 0.9 < summary["slope"] < 1.1
        assert abs(summary["intercept"]) < 0.15
        assert summary["expected_calibration_error"] < 0.06


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_scikit_learn(name: str) -> None:
    outcomes = np.array([0, 1, 1, 0, 1])
    probability = np.array([0.0, 0.5, 1.0, 0.49, 0.0])
    theirs = {
        "accuracy": accuracy_score(outcomes, probability >= 0.5),
        "roc_auc": roc_auc_score(outcomes, probability),
        "brier": brier_score_loss(outcomes, probability),
        "log_loss": log_loss(outcomes, probability),
    }
    assert METRICS[name](outcomes, probability) == pytest.approx(theirs[name], rel=1e-12)


def test_an_evaluation_is_read_as_it_was_written(evaluation: Evaluation) -> None:
    texts = evaluation.to_texts()
    again = Evaluation.from_texts(texts.__getitem__)
    pd.testing.assert_frame_equal(again.scores, evaluation.scores)
    pd.testing.assert_frame_equal(again.predictions, evaluation.predictions)


def test_baselines_predict_unseen_values(titanic: pd.DataFrame) -> None:
    X, y = titanic[list(ATTRIBUTE_NAMES)], titanic["survived"].to_numpy()
    stranger = X.head(1).assign(_name="Nobody", ticket="never sold", cabin="Z9", embarked=None, age=np.nan)
    for name, fit_baseline in BASELINES.items():
        assert 0 <= fit_baseline(X, y).predict_proba(stranger)[0, 1] <= 1, name


def test_processes_do_not_change_the_result(titanic: pd.DataFrame) -> None:
    one, two = (evaluate(titanic.head(200), Parameters(), folds=2, repeats=1, processes=count) for count in (1, 2))
    assert one.to_texts() == two.to_texts()


def test_sex_only() -> None:
    people = pd.DataFrame({"sex": ["male", "male", "female", "female"]})
    baseline = SexOnly().fit(people, np.array([0, 1, 1, 1]))
    probability = baseline.predict_proba(pd.DataFrame({"sex": ["female", "male", None]}))
    np.testing.assert_allclose(probability, [[0, 1], [0.5, 0.5], [0.25, 0.75]])


def test_one_classifier_must_be_the_model(titanic):
    with pytest.raises(ValueError, match="model"):
        cross_validate(titanic, dict(BASELINES), repeats=1)


@pytest.mark.parametrize("seed", [0, 7])
def test_folds_are_those_of_scikit_learn(titanic: pd.DataFrame, seed: int) -> None:
    groups, outcomes = travel_groups(titanic), titanic["survived"]
    ours, theirs = (
        [list(held_out) for _, held_out in kind(5, shuffle=True, random_state=seed).split(titanic, outcomes, groups)]
        for kind in (GroupFolds, StratifiedGroupKFold)
    )
    assert ours == theirs
