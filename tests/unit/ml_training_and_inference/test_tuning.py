from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stack import tune_model
from workflows.common.settings import Settings
from workflows.ml_training_and_inference import evaluation as evaluation_module
from workflows.ml_training_and_inference import tuning
from workflows.ml_training_and_inference.evaluation import BASELINES, cross_validation_folds
from workflows.ml_training_and_inference.training import Parameters
from workflows.ml_training_and_inference.tuning import (
    CANDIDATES,
    draw_candidates,
    nested_cross_validation,
    search_parameters,
)
from workflows.passengers.contract import ATTRIBUTE_NAMES

X_COLUMNS = list(ATTRIBUTE_NAMES)
GOOD = Parameters(n_estimators=30, max_depth=3, learning_rate=0.2)
# Hardly more than the intercept.
USELESS = replace(GOOD, n_estimators=1, learning_rate=0.001)


@pytest.fixture
def some(titanic: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """150 passengers; the inner folds are drawn once."""
    monkeypatch.setattr(tuning, "FINAL_REPEATS", 1)
    return titanic.head(150)


def offer(monkeypatch: pytest.MonkeyPatch, *offered: Parameters) -> None:
    monkeypatch.setattr(tuning, "draw_candidates", lambda count, _: iter(offered[:count]))


def test_candidates_depend_on_the_seed() -> None:
    drawn = list(draw_candidates(CANDIDATES, 0))
    assert len(set(drawn)) == CANDIDATES
    assert list(draw_candidates(3, 0)) == drawn[:3]
    assert list(draw_candidates(CANDIDATES, 1)) != drawn
    # The time of a prediction grows with the number of trees.
    assert all(20 <= parameters.n_estimators <= 200 for parameters in drawn)
    # Training rows are computed once for all candidates.
    assert {(parameters.missing_rate, parameters.seed) for parameters in drawn} == {(0.3, 0)}


def test_the_published_parameters_are_in_the_search_space() -> None:
    space = pd.DataFrame([vars(parameters) for parameters in draw_candidates(300, 1)])
    published = vars(Parameters())
    for name, value in published.items():
        assert space[name].min() <= value <= space[name].max(), name


@pytest.mark.parametrize("order", [(GOOD, USELESS), (USELESS, GOOD)])
def test_search_finds_the_better_one(
    some: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, order: tuple[Parameters, ...]
) -> None:
    offer(monkeypatch, *order)
    chosen, loss = search_parameters(some[X_COLUMNS], some["survived"].to_numpy(), count=2)
    assert chosen == GOOD
    # Lower than the loss of predicting the share of survivors for everybody.
    share = some["survived"].mean()
    assert 0.3 < loss < -(share * np.log(share) + (1 - share) * np.log(1 - share)) - 0.1
    assert search_parameters(some[X_COLUMNS], some["survived"].to_numpy(), count=2) == (chosen, loss)


def test_finalists_are_scored_in_more_folds(some: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[Parameters] = []
    original = tuning.fit_rows

    def counted(training: tuning.TrainingRows, parameters: Parameters) -> object:
        fits.append(parameters)
        return original(training, parameters)

    monkeypatch.setattr(tuning, "fit_rows", counted)
    monkeypatch.setattr(tuning, "FINALISTS", 1)
    monkeypatch.setattr(tuning, "FINAL_REPEATS", 2)
    offer(monkeypatch, USELESS, GOOD)
    search_parameters(some[X_COLUMNS], some["survived"].to_numpy(), count=2)
    # Three folds and two splits: drawn once for all candidates, twice for the finalist.
    assert (fits.count(USELESS), fits.count(GOOD)) == (6, 12)


def test_the_held_out_fold_is_not_used_in_the_search(some: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[set[object]] = []

    def recorded(X: pd.DataFrame, y: object, count: int) -> tuple[Parameters, float]:
        assert list(X) == X_COLUMNS
        searched.append(set(X["_name"]))
        return GOOD, 0.0

    monkeypatch.setattr(tuning, "search_parameters", recorded)
    # In this process, so that what is recorded can be seen.
    monkeypatch.setattr(evaluation_module, "map_in_processes", lambda run, folds, _: list(map(run, folds)))
    evaluation = nested_cross_validation(some, folds=3, repeats=1)
    expected: Iterator[set[object]] = (
        set(some["_name"].iloc[train]) for *_, train, _ in cross_validation_folds(some, 3, 1, 0)
    )
    assert sorted(map(sorted, searched)) == sorted(map(sorted, expected))
    assert evaluation.scores["classifier"].unique().tolist() == ["model"]
    assert evaluation.predictions.groupby("split").size().to_dict() == {"grouped": 150, "stratified": 150}


def test_command_prints_both_tables(
    some: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune_model, "load_passengers", lambda _: some)
    # The slowest baseline to fit.
    monkeypatch.delitem(BASELINES, "logistic regression")
    offer(monkeypatch, GOOD)
    assert tune_model.main(["--candidates", "1", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Published parameters" in printed
    assert "sex only" in printed
    assert "Parameters searched in each training part" in printed
    assert "n_estimators 30, max_depth 3" in printed


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [("passengers_csv", "/not/there.csv", "/not/there.csv"), ("port", "abc", "setting PORT: ")],
)
def test_wrong_settings_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, value: str, message: str
) -> None:
    monkeypatch.setattr(tune_model, "get_settings", lambda: Settings(**{setting: value}))
    assert tune_model.main([]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Error: ")
    assert message in line
