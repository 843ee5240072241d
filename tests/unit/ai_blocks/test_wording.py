import pytest

from workflows.advice.framework import Group, groups_of, rate_fact
from workflows.ai_blocks.grounding import objection
from workflows.ai_blocks.phrases import percent, percent_pattern
from workflows.common.settings import get_settings
from workflows.sql_python.passenger_files import load_passengers
from workflows.survival.explanation import facts_of


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (0.004, "less than 1 %"),
        (0.005, "less than 1 %"),
        (0.006, "1 %"),
        (0.01, "1 %"),
        (0.494, "49 %"),
        (0.4997, "just below 50 %"),
        (0.5, "50 %"),
        (0.5002, "just above 50 %"),
        (0.505, "just above 50 %"),
        (0.506, "51 %"),
        (0.994, "99 %"),
        (0.996, "more than 99 %"),
        (1.0, "100 %"),
    ],
)
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize("share", [0.0, 0.001, 0.4997, 0.5002, 0.999, 1.0])
def test_nothing_is_about_a_share_that_is_exact_or_in_words(share):
    assert percent_pattern(share) == percent(share)


def test_percentage_of_every_group_is_its_rounded_rate():
    groups = groups_of(load_passengers(str(get_settings().data_dir / "titanic.csv")))
    assert {0.0, 1.0} <= {group.rate for group in groups}
    for group in groups:
        assert f", {round(100 * group.rate)} % survived." in rate_fact(group).text


@pytest.mark.parametrize(
    ("survived", "said", "denied"), [(20, "All 20", "None of the 20"), (0, "None of the 20", "All 20")]
)
def test_all_and_none_of_a_group(survived, said, denied):
    fact = rate_fact(Group(attributes={"sex": "female"}, count=20, survived=survived))
    assert objection(f"{said} female passengers survived.", [fact]) is None
    assert objection(f"{denied} female passengers survived.", [fact]) is not None
    assert objection(f"{said} male passengers survived.", [fact]) is not None
    assert objection("Of 20 female passengers, 99 % survived.", [fact]) is not None
    most = rate_fact(Group(attributes={"sex": "female"}, count=20, survived=abs(survived - 1)))
    assert objection(f"{said} female passengers survived.", [most]) is not None


@pytest.mark.parametrize(("probability", "text"), [(0.0, "less than 1 %"), (1.0, "more than 99 %")])
def test_no_prediction_is_certain(probability, text):
    prediction = {"survived": int(probability), "probability": probability, "passenger": {}, "contributions": {}}
    assert facts_of(prediction)[0].text.endswith(f"the chance of survival was {text}.")
