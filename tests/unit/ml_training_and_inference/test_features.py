import math

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from workflows.ml_training_and_inference.features import FEATURE_NAMES, FEATURES, PassengerFeatures, title_of
from workflows.passengers.contract import ATTRIBUTE_NAMES, Value, parse_attributes


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
    # Braund, Mr. Owen Harris: age 22, third class, one sibling on board, alone on his ticket, no cabin.
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
        # A/5 21171
        "ticket_number": 21171,
        "ticket_length": 9,
    }


def test_companions_are_the_other_women_and_boys_on_the_ticket() -> None:
    family: list[dict[str, object]] = [
        {"_name": f"A, {name}", "ticket": "T", "age": age, "sibsp": 0, "parch": 0, "fare": 30}
        for age, name in ((41, "Mrs. B"), (12, "Miss. C"), (3, "Master. D"), (43, "Mr. E"))
    ]
    known = people(*family, {"_name": "F, Mr. G", "ticket": "U"})
    features = PassengerFeatures().fit(known, [1, 1, 0, 0, 1])
    column = list(FEATURE_NAMES).index("companions_survived")
    shares = features.transform(known)[:, column]
    np.testing.assert_array_equal(shares, np.array([0.5, 0.5, 1, 2 / 3, np.nan], dtype=np.float32))
    stranger = named(features.row(parse_attributes({"ticket": "T", "age": 9, "sibsp": 0, "parch": 0, "fare": 30})))
    assert stranger["companions_survived"] == pytest.approx(2 / 3)
    # Men are part of the group that travels together.
    assert (stranger["group_size"], stranger["fare_per_person"]) == (5, 6)


def test_husband_and_wife_are_companions() -> None:
    couple = people(
        {"_name": "Cumings, Mr. John Bradley", "sex": "male", "ticket": "T"},
        {"_name": "Cumings, Mrs. John Bradley (Florence Briggs)", "sex": "female", "ticket": "T"},
    )
    column = list(FEATURE_NAMES).index("companions_survived")
    shares = PassengerFeatures().fit(couple, [0, 1]).transform(couple)[:, column]
    np.testing.assert_array_equal(shares, [1, np.nan])


@pytest.mark.parametrize(
    ("ticket", "number", "length"),
    [
        ("PC 17599", 17599, 8),
        ("315037", 315037, 6),
        ("LINE", math.nan, 4),
        ("A/5. 2151", 2151, 9),
        ("9" * 400, 1e9, 400),
        (None, math.nan, math.nan),
    ],
)
def test_ticket_number(fitted: PassengerFeatures, ticket: str | None, number: float, length: float) -> None:
    features = named(fitted.row(parse_attributes({"ticket": ticket})))
    np.testing.assert_equal([features["ticket_number"], features["ticket_length"]], [number, length])
    assert not np.isinf(np.float32(features["ticket_number"]))


def test_without_companions_everyone_is_a_stranger(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    alone = pd.DataFrame(fitted.without_companions().transform(titanic), columns=list(FEATURE_NAMES))
    known = pd.DataFrame(fitted.transform(titanic), columns=list(FEATURE_NAMES))
    assert alone["companions_survived"].isna().all()
    assert 0.25 < known["companions_survived"].notna().mean() < 0.45
    assert (alone["group_size"] == alone["family_size"]).all()
    same = [n for n in FEATURE_NAMES if n not in {"companions_survived", "group_size", "fare_per_person"}]
    pd.testing.assert_frame_equal(alone[same], known[same])


def test_features_do_not_depend_on_the_passengers_own_outcome(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    """If the outcome of one passenger is inverted, that passenger's features stay the same."""
    for position in range(0, len(titanic), 40):
        flipped = titanic["survived"].to_numpy().copy()
        flipped[position] = 1 - flipped[position]
        other = PassengerFeatures().fit(titanic, flipped)
        passenger = titanic.iloc[[position]]
        np.testing.assert_array_equal(other.transform(passenger), fitted.transform(passenger))


def test_a_passenger_with_one_changed_attribute_is_not_their_own_companion() -> None:
    record: dict[str, object] = {"_name": "A, Mrs. B", "ticket": "T", "age": "30", "sex": "female", "pclass": "3"}
    features = PassengerFeatures().fit(people(record), [1])
    column = list(FEATURE_NAMES).index("companions_survived")
    man = {"_name": "A, Mr. B", "sex": "male"}
    nameless = {"_name": "Kim", "pclass": "1", "fare": "8", "cabin": "A1", "embarked": None}
    for change in ({"_name": "C, Mrs. D"}, {"_name": "C, Mrs. D", "pclass": "1"}, {"sex": "male"}, man, nameless):
        assert math.isnan(features.row(parse_attributes({**record, **change}))[column])
    for name in ("Kim", None):
        for missing in ("age", "sex", "fare"):
            assert math.isnan(features.row(parse_attributes({**record, "_name": name, missing: None}))[column])
    assert features.row(parse_attributes({**record, "_name": "C, Mr. D", "sex": "male"}))[column] == 1


def test_features_are_the_same_alone_in_a_batch_and_from_text(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    batch = fitted.transform(titanic)
    for position in range(0, len(titanic), 25):
        record = titanic.iloc[position]
        strings: dict[str, object] = {name: str(record[name]) for name in ATTRIBUTE_NAMES if pd.notna(record[name])}
        alone = np.array(fitted.row(parse_attributes(strings)), dtype=np.float32)
        np.testing.assert_array_equal(alone, batch[position])


def test_without_attributes_all_features_are_missing(fitted: PassengerFeatures) -> None:
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


def test_the_input_is_not_changed_and_transform_needs_a_fit(titanic: pd.DataFrame) -> None:
    before = titanic.copy()
    PassengerFeatures().fit(titanic, titanic["survived"]).transform(titanic)
    pd.testing.assert_frame_equal(titanic, before)
    with pytest.raises(NotFittedError):
        PassengerFeatures().transform(titanic)


def test_empty_table(titanic: pd.DataFrame, fitted: PassengerFeatures) -> None:
    assert fitted.transform(titanic.head(0)).shape == (0, len(FEATURE_NAMES))


def test_row_needs_only_the_ten_attributes(fitted: PassengerFeatures) -> None:
    passenger: dict[str, Value] = dict.fromkeys(ATTRIBUTE_NAMES)
    assert len(fitted.row(passenger)) == len(FEATURE_NAMES)
