import math

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from workflows.passengers import ATTRIBUTE_NAMES, Value, parse_attributes
from workflows.survival.features import FEATURE_NAMES, FEATURES, PassengerFeatures, title_of


def people(*records: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame([parse_attributes(record) for record in records], columns=list(ATTRIBUTE_NAMES)).astype(object)


def named(row: list[float]) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, row, strict=True))


@pytest.fixture(scope="session")
def fitted(titanic: pd.DataFrame) -> PassengerFeatures:
    return PassengerFeatures().fit(titanic, titanic["survived"])


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Braund, Mr. Owen Harris", "man"),
        ("Palsson, Master. Gosta Leonard", "boy"),
        ("Heikkinen, Miss. Laina", "woman"),
        ("Cumings, Mrs. John Bradley (Florence Briggs Thayer)", "woman"),
        ("Rothes, the Countess. of (Lucy Noel Martha Dyer-Edwards)", "rare"),
        ("Uruchurtu, Don. Manuel E", "rare"),
        ("Mr Min Kim", "man"),
        ("mrs. kim", "woman"),
        ("Kim", None),
        ("Don Smith", None),
        ("Master, Mr. John", "man"),
        ("Missouri, Ann", None),
        ("", None),
    ],
)
def test_title(name: str, title: str | None) -> None:
    assert title_of(name) == title


def test_every_bundled_name_has_a_title(titanic: pd.DataFrame) -> None:
    assert titanic["_name"].map(title_of).notna().all()


def test_every_feature_names_real_attributes() -> None:
    assert all(set(feature.attributes) <= set(ATTRIBUTE_NAMES) and feature.attributes for feature in FEATURES.values())


def test_known_passenger(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    # Braund, Mr. Owen Harris: 22, third class, one sibling, nobody else on his ticket, no cabin.
    features = named([float(number) for number in fitted.transform(titanic.head(1))[0]])
    unknown = {name for name, number in features.items() if math.isnan(number)}
    assert unknown == {"deck", "companions_survived"}
    assert {name: number for name, number in features.items() if name not in unknown} == {
        "is_female": 0,
        "pclass": 3,
        "age": 22,
        "fare": 7.25,
        "fare_per_person": 3.625,
        "family_size": 2,
        "group_size": 2,
        "is_woman_or_boy": 0,
        "has_rare_title": 0,
        "boarded_at_southampton": 1,
    }


def test_companions_are_the_others_on_the_ticket() -> None:
    family = [{"_name": f"P{n}", "ticket": "T", "age": n, "sibsp": 0, "parch": 0, "fare": 30} for n in (1, 2, 3)]
    known = people(*family, {"_name": "alone", "ticket": "U"})
    features = PassengerFeatures().fit(known, [1, 1, 0, 1])
    column = list(FEATURE_NAMES).index("companions_survived")
    shares = features.transform(known)[:, column]
    np.testing.assert_array_equal(shares, np.array([0.5, 0.5, 1, np.nan], dtype=np.float32))
    stranger = named(features.row(parse_attributes({"ticket": "T", "age": 9, "sibsp": 0, "parch": 0, "fare": 30})))
    assert stranger["companions_survived"] == pytest.approx(2 / 3)
    assert (stranger["group_size"], stranger["fare_per_person"]) == (4, 7.5)


def test_own_outcome_never_reaches_the_own_features(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    """Turning one passenger's outcome around changes nothing in that passenger's row."""
    for position in range(0, len(titanic), 40):
        flipped = titanic["survived"].to_numpy().copy()
        flipped[position] = 1 - flipped[position]
        other = PassengerFeatures().fit(titanic, flipped)
        passenger = titanic.iloc[[position]]
        np.testing.assert_array_equal(other.transform(passenger), fitted.transform(passenger))


def test_renaming_or_changing_one_attribute_does_not_make_somebody_their_own_companion() -> None:
    record: dict[str, object] = {"_name": "A, Mr. B", "ticket": "T", "age": "30", "sex": "male", "pclass": "3"}
    features = PassengerFeatures().fit(people(record), [1])
    column = list(FEATURE_NAMES).index("companions_survived")
    for change in ({"_name": "C, Mr. D"}, {"sex": "female"}, {"pclass": "1"}):
        assert math.isnan(features.row(parse_attributes({**record, **change}))[column])


def test_same_row_alone_in_a_batch_and_from_strings(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    batch = fitted.transform(titanic)
    for position in range(0, len(titanic), 25):
        record = titanic.iloc[position]
        strings: dict[str, object] = {name: str(record[name]) for name in ATTRIBUTE_NAMES if pd.notna(record[name])}
        alone = np.array(fitted.row(parse_attributes(strings)), dtype=np.float32)
        np.testing.assert_array_equal(alone, batch[position])


def test_nothing_known_is_all_missing(fitted: PassengerFeatures) -> None:
    assert all(math.isnan(number) for number in fitted.row(parse_attributes({})))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"sex": "female"}, 1),
        ({"sex": "male", "_name": "A, Master. B", "age": 40}, 1),
        ({"sex": "male", "_name": "A, Mr. B", "age": 3}, 0),
        ({"sex": "male", "age": 3}, 1),
        ({"sex": "male", "age": 13}, 0),
        ({"sex": "male"}, math.nan),
        ({"_name": "A, Mrs. B"}, 1),
        ({"_name": "A, Mr. B"}, 0),
        ({"_name": "A, Dr. B"}, math.nan),
        ({"age": 3}, math.nan),
    ],
)
def test_woman_or_boy(fitted: PassengerFeatures, attributes: dict[str, object], expected: float) -> None:
    actual = named(fitted.row(parse_attributes(attributes)))["is_woman_or_boy"]
    assert actual == expected or (math.isnan(actual) and math.isnan(expected))


def test_unseen(fitted: PassengerFeatures, kim: dict[str, object]) -> None:
    def unseen(**changes: object) -> list[str]:
        return fitted.unseen(parse_attributes({**kim, "_name": "Kim, Mrs. A", **changes}))

    assert unseen() == []
    assert unseen(_name="Kim") == ["_name"]
    assert unseen(ticket="never sold") == ["ticket"]
    assert unseen(cabin="Z1") == ["cabin"]
    assert unseen(age=119, fare=99_999, sibsp=20) == ["age", "sibsp", "fare"]
    assert fitted.unseen(parse_attributes({})) == []


def test_input_is_left_alone_and_fitting_comes_first(titanic: pd.DataFrame) -> None:
    before = titanic.copy()
    PassengerFeatures().fit(titanic, titanic["survived"]).transform(titanic)
    pd.testing.assert_frame_equal(titanic, before)
    with pytest.raises(NotFittedError):
        PassengerFeatures().transform(titanic)


def test_empty_table(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    assert fitted.transform(titanic.head(0)).shape == (0, len(FEATURE_NAMES))


def test_row_needs_no_more_than_the_ten_attributes(fitted: PassengerFeatures) -> None:
    passenger: dict[str, Value] = dict.fromkeys(ATTRIBUTE_NAMES)
    assert len(fitted.row(passenger)) == len(FEATURE_NAMES)
