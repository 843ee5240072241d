import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from workflows.passengers import ATTRIBUTE_NAMES
from workflows.survival.features import FEATURE_NAMES
from workflows.survival.training import Parameters, fit, make_pipeline, with_strangers

X_COLUMNS = list(ATTRIBUTE_NAMES)


def probabilities(pipeline: Pipeline, df: pd.DataFrame) -> np.ndarray:
    return pipeline.predict_proba(df[X_COLUMNS])[:, 1]


def share_not_lower(pipeline: Pipeline, low: pd.DataFrame, high: pd.DataFrame) -> float:
    return float((probabilities(pipeline, high) >= probabilities(pipeline, low)).mean())


def test_same_data_and_seed_give_the_same_bytes(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    again = fit(titanic[X_COLUMNS], titanic["survived"].to_numpy(), Parameters())
    assert probabilities(again, titanic).tobytes() == probabilities(pipeline, titanic).tobytes()


def test_another_seed_gives_another_model(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    other = fit(titanic[X_COLUMNS], titanic["survived"].to_numpy(), Parameters(seed=1))
    assert not np.array_equal(probabilities(other, titanic), probabilities(pipeline, titanic))


def test_company_columns_and_the_outcome_are_not_looked_at(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    more = titanic.assign(company_id=7, company_name="x", survived=1 - titanic["survived"])
    np.testing.assert_array_equal(pipeline.predict_proba(more), pipeline.predict_proba(titanic))


def test_women_and_better_classes_are_not_predicted_lower(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    assert share_not_lower(pipeline, titanic.assign(sex="male"), titanic.assign(sex="female")) >= 0.95
    assert share_not_lower(pipeline, titanic.assign(pclass=3), titanic.assign(pclass=2)) >= 0.95
    assert share_not_lower(pipeline, titanic.assign(pclass=2), titanic.assign(pclass=1)) >= 0.95


def test_the_other_given_name_changes_nothing(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    titles = titanic["_name"].str.extract(r",\s*(.*?\.)", expand=False)
    renamed = titanic.assign(_name="Smith, " + titles + " Alex")
    np.testing.assert_array_equal(probabilities(pipeline, renamed), probabilities(pipeline, titanic))


def test_order_of_rows_does_not_matter_to_predictions(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    shuffled = titanic.sample(frac=1, random_state=3)
    np.testing.assert_array_equal(
        pd.Series(probabilities(pipeline, shuffled), index=shuffled.index).sort_index(),
        probabilities(pipeline, titanic),
    )


def test_what_is_never_missing_in_the_data_may_be_missing_later(titanic: pd.DataFrame, pipeline: Pipeline) -> None:
    def mean(**known: object) -> float:
        nobody = pd.DataFrame([dict.fromkeys(ATTRIBUTE_NAMES)], dtype=object)
        return float(probabilities(pipeline, nobody.assign(**known))[0])

    # Between the least and the most likely group, near the overall rate of 0.38, and moved by what is known.
    assert 0.15 < mean() < 0.5
    assert mean(sex="male") < mean() < mean(sex="female")
    assert mean(pclass=3) < mean(pclass=1)


def test_strangers_are_copies_of_whom_less_is_known(titanic: pd.DataFrame) -> None:
    X, y = titanic[X_COLUMNS], titanic["survived"].to_numpy()
    before = X.copy()
    more, outcomes, weights = with_strangers(X, y, Parameters(missing_rate=0.3, stranger_weight=0.5))
    pd.testing.assert_frame_equal(X, before)
    originals, copies = more.iloc[: len(X)], more.iloc[len(X) :].reset_index(drop=True)
    pd.testing.assert_frame_equal(originals, X.astype(object))
    assert copies["ticket"].isna().all()
    assert 0.25 < copies["sex"].isna().mean() < 0.35
    kept = copies["pclass"].notna()
    assert (copies.loc[kept, "pclass"] == X.loc[kept, "pclass"]).all()
    np.testing.assert_array_equal(outcomes, np.r_[y, y])
    assert weights.mean() == 1
    assert weights[-1] == weights[0] / 2


def test_pipeline_holds_features_and_model_and_the_constraints(pipeline: Pipeline) -> None:
    assert list(pipeline.named_steps) == ["features", "model"]
    constraints = dict(zip(FEATURE_NAMES, make_pipeline(Parameters())["model"].monotone_constraints, strict=True))
    assert {name: direction for name, direction in constraints.items() if direction} == {
        "is_female": 1,
        "pclass": -1,
        "is_woman_or_boy": 1,
        "companions_survived": 1,
    }
