import json

import pandas as pd
import pytest

from tests.provider import Provider, answer
from workflows.advice import framework as module
from workflows.advice.framework import (
    Framework,
    Group,
    age_band,
    build_framework,
    facts_of,
    family_band,
    group_words,
    groups_of,
    newest_framework,
)
from workflows.ai_blocks import answers
from workflows.ai_blocks.grounding import objection
from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.common.settings import Settings, get_settings
from workflows.sql_python.passenger_files import load_passengers

EMPTY = [""] * 9


@pytest.fixture(scope="module")
def passengers():
    return load_passengers(str(get_settings().data_dir / "titanic.csv"))


def group_of(groups, **attributes):
    return next(group for group in groups if group.attributes == attributes)


def test_rates_are_those_of_the_data(passengers):
    groups = groups_of(passengers)
    assert (groups[0].attributes, groups[0].count, groups[0].survived) == ({}, 891, 342)
    women = group_of(groups, sex="female")
    assert (women.count, women.survived) == (314, 233)
    first = group_of(groups, sex="female", pclass=1)
    assert (first.count, first.survived) == (94, 91)
    children = passengers[passengers["age"] < 13]
    assert group_of(groups, age_band="child").count == len(children)
    alone = passengers[(passengers["sibsp"] + passengers["parch"]) == 0]
    assert group_of(groups, family="alone").survived == alone["survived"].sum()


def test_passengers_without_an_attribute_are_left_out_of_its_groups(passengers):
    groups = groups_of(passengers)
    banded = sum(group.count for group in groups if set(group.attributes) == {"age_band"})
    assert banded == passengers["age"].notna().sum()


def test_input_is_not_changed(passengers):
    before = passengers.copy()
    groups_of(passengers)
    pd.testing.assert_frame_equal(passengers, before)


def test_no_passengers_or_a_missing_column_is_refused(passengers):
    with pytest.raises(InvalidInputError, match="no passengers"):
        groups_of(passengers.head(0))
    with pytest.raises(InvalidInputError, match="sex"):
        groups_of(passengers.drop(columns="sex"))


@pytest.mark.parametrize(
    ("age", "band"),
    [(0.4, "child"), (12.9, "child"), (13, "teenage"), (18, "adult"), (60, "old"), (None, None), (float("nan"), None)],
)
def test_age_band(age, band):
    assert age_band(age) == band


def test_family_band():
    assert [family_band(people) for people in (1, 2, 4, 5, None)] == ["alone", "small", "small", "large", None]


def test_group_words():
    attributes = {"sex": "male", "age_band": "adult", "pclass": 3, "family": "alone", "embarked": "S"}
    assert group_words(attributes) == "male adult passengers in third class travelling alone from Southampton"


def framework_with(*groups):
    return Framework(
        version="1",
        fingerprint="f",
        summary="s",
        provenance={},
        groups=[Group(attributes={}, count=100, survived=40), *groups],
    )


def test_group_that_shares_most_known_attributes_decides():
    male = Group(attributes={"sex": "male"}, count=60, survived=10)
    third = Group(attributes={"pclass": 3}, count=60, survived=15)
    both = Group(attributes={"sex": "male", "pclass": 3}, count=40, survived=5)
    tiny = Group(attributes={"sex": "male", "pclass": 3, "age_band": "child"}, count=19, survived=19)
    framework = framework_with(third, male, both, tiny)
    assert framework.group_for({"sex": "male", "pclass": 3, "age_band": "child"}) == both
    assert framework.group_for({"sex": "male", "pclass": 1}) == male
    assert framework.group_for({"sex": "female", "pclass": 3}) == third
    assert framework.group_for({}).attributes == {}
    assert framework_with(third, male).group_for({"sex": "male", "pclass": 3}) == male


def test_text_made_from_facts_passes_the_check(passengers):
    facts = facts_of(groups_of(passengers))
    assert len(facts) == 6
    assert objection(" ".join(fact.text for fact in facts), facts) is None


def test_model_sums_up_and_the_version_is_kept(passengers, scripted, tmp_path):
    text = "Of all 891 passengers, 38 % survived. Of 314 female passengers, 74 % survived."
    output = build_framework(passengers, tmp_path, scripted({"framework": text}))
    assert (output["summary"], output["source"]) == (text, "model")
    assert {"sex": "female", "count": 314, "survived": 233, "rate": 0.742} in output["rates"]
    kept = newest_framework(tmp_path)
    assert (kept.version, kept.summary) == (output["framework_version"], text)
    assert json.loads(json.dumps(output)) == output


def test_swapped_rates_are_refused(passengers, scripted, tmp_path):
    text = "Of 314 female passengers, 19 % survived. Of 577 male passengers, 74 % survived."
    output = build_framework(passengers, tmp_path, scripted(*[{"framework": text}] * 9))
    assert output["source"] == "facts"


def test_second_run_on_the_same_passengers_changes_nothing(passengers, tmp_path, monkeypatch):
    server = Provider(answer("nothing"))
    settings = Settings(openai_base_url=server.url, llm_model="m", state_dir=tmp_path)
    monkeypatch.setattr(answers, "get_settings", lambda: settings)
    first, second = (build_framework(passengers, tmp_path / "frameworks") for _ in range(2))
    server.stop()
    assert second == {**first, "cached": True}
    assert len(server.requests) == first["attempts"], "the same question is asked once"
    assert len(list((tmp_path / "frameworks").iterdir())) == 1


def test_another_summary_makes_a_newer_version(passengers, scripted, tmp_path):
    first = build_framework(passengers, tmp_path, scripted(*EMPTY))
    said = ". ".join(first["summary"].split(". ")[:2]) + "."
    second = build_framework(passengers, tmp_path, scripted({"framework": said}))
    assert (second["summary"], second["source"]) == (said, "model")
    assert newest_framework(tmp_path).version == second["framework_version"] > first["framework_version"]


def test_other_passengers_make_a_newer_version(passengers, scripted, tmp_path):
    first = build_framework(passengers, tmp_path, scripted(*EMPTY))
    second = build_framework(passengers.head(500), tmp_path, scripted(*EMPTY))
    assert second["framework_version"] > first["framework_version"]
    assert newest_framework(tmp_path).version == second["framework_version"]


@pytest.mark.parametrize("content", ["", '{"version": "9"', '{"version": "9"}', "[]"])
def test_broken_version_is_skipped(passengers, scripted, tmp_path, content):
    good = build_framework(passengers, tmp_path, scripted(*EMPTY))
    (tmp_path / "99991231T000000000000Z-00000000.json").write_text(content)
    assert newest_framework(tmp_path).version == good["framework_version"]


def test_old_versions_are_dropped(passengers, scripted, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT_VERSIONS", 2)
    versions = [
        build_framework(passengers.head(rows), tmp_path, scripted(*EMPTY))["framework_version"]
        for rows in (100, 200, 300)
    ]
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == versions[1:]


def test_without_a_version_the_error_names_the_pipeline(tmp_path):
    with pytest.raises(NotReadyError, match="llm_inference"):
        newest_framework(tmp_path / "nothing")
