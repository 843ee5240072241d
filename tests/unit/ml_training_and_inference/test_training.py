import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from workflows.ml_training_and_inference.features import FEATURE_NAMES
from workflows.ml_training_and_inference.training import Parameters, fit, hide_attributes, make_model
from workflows.passengers.contract import ATTRIBUTE_NAMES

X_COLUMNS = list(ATTRIBUTE_NAMES)


def probabilities(pipeline: Pipeline, df: pd.DataFrame) -> np.ndarray:
    return pipeline.predict_proba(df[X_COLUMNS])[:, 1]


def test_another_seed_gives_another_model(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    other = fit(titanic[X_COLUMNS], titanic["survived"].to_numpy(), Parameters(seed=1))
    assert not np.array_equal(probabilities(other, titanic), probabilities(pipeline, titanic))


def test_attributes_that_are_never_missing_in_the_data_may_be_missing_later(
    titanic: pd.DataFrame, pipeline: Pipeline
) -> None:
    def mean(**known: object) -> float:
        nobody = pd.DataFrame([dict.fromkeys(ATTRIBUTE_NAMES)], dtype=object)
        return float(probabilities(pipeline, nobody.assign(**known))[0])

    # Near the overall survival rate of 0.38, and changed by each known attribute.
    assert 0.15 < mean() < 0.5
    assert mean(sex="male") < mean() < mean(sex="female")
    assert mean(pclass=3) < mean(pclass=1)


def test_hidden_attributes_leave_the_others_as_they_are(titanic: pd.DataFrame) -> None:
    X = titanic[X_COLUMNS]
    before = X.copy()
    hidden = hide_attributes(X, Parameters(missing_rate=0.3))
    pd.testing.assert_frame_equal(X, before)
    for name in ("sex", "pclass", "ticket", "_name"):
        assert 0.25 < hidden[name].isna().mean() < 0.35
        kept = hidden[name].notna()
        assert (hidden.loc[kept, name] == X.loc[kept, name]).all()
    assert hide_attributes(X, Parameters(missing_rate=1)).isna().all(axis=None)


def test_the_copies_improve_predictions_of_families_with_an_unknown_ticket(titanic: pd.DataFrame) -> None:
    half = np.arange(len(titanic)) % 2 == 0
    fitted, others = titanic[half], titanic[~half]
    families = others[others["sibsp"] + others["parch"] > 0].assign(ticket="never sold")
    brier_scores = {}
    for weight in (0.0, 0.5):
        parameters = Parameters(alone_weight=weight, stranger_weight=weight)
        predicted = probabilities(fit(fitted[X_COLUMNS], fitted["survived"].to_numpy(), parameters), families)
        brier_scores[weight] = float(np.mean((predicted - families["survived"]) ** 2))
    assert brier_scores[0.5] < brier_scores[0.0]


def test_pipeline_holds_features_and_model_and_the_constraints(pipeline: Pipeline) -> None:
    assert list(pipeline.named_steps) == ["features", "model"]
    constraints = dict(zip(FEATURE_NAMES, make_model(Parameters()).monotone_constraints, strict=True))
    assert {name: direction for name, direction in constraints.items() if direction} == {
        "is_female": 1,
        "pclass": -1,
        "is_woman_or_boy": 1,
        "companions_survived": 1,
    }
