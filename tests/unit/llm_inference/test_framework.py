import json
from pathlib import Path

import pandas as pd
import pytest

from tests import corpus
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.llm_inference.framework import (
    KEPT_VERSIONS,
    Framework,
    Group,
    build_framework,
    framework_from_counts,
    groups_of,
    groups_shown,
    newest_framework,
)

CORPUS = Path(__file__).parent / "corpus"
TEXT = (
    "Start from 38 % for all 891 passengers. Sex matters most: 74 % of female and 19 % of male passengers survived. "
    "Class comes next: of women in first class 97 % survived, in third class half of them."
)
RULES = [
    {"group": "all passengers", "count": 891, "survival_percent": 38},
    {"group": "female passengers", "count": 314, "survival_percent": 74},
    {"group": "female passengers in third class", "count": 144, "survival_percent": 50},
]


def group_of(groups, **attributes):
    return next(group for group in groups if group.attributes == attributes)


def test_rates_are_those_of_the_data(titanic):
    groups = groups_of(titanic)
    assert (groups[0].attributes, groups[0].count, groups[0].survived) == ({}, 891, 342)
    women = group_of(groups, sex="female")
    assert (women.count, women.survived) == (314, 233)
    first = group_of(groups, sex="female", pclass=1)
    assert (first.count, first.survived) == (94, 91)
    assert group_of(groups, age_band="child").count == len(titanic[titanic["age"] < 13])
    alone = titanic[(titanic["sibsp"] + titanic["parch"]) == 0]
    assert group_of(groups, family="alone").survived == alone["survived"].sum()


def test_passengers_without_an_attribute_are_not_in_its_groups(titanic):
    banded = sum(group.count for group in groups_of(titanic) if set(group.attributes) == {"age_band"})
    assert banded == titanic["age"].notna().sum()


def test_input_is_not_changed(titanic):
    before = titanic.copy()
    groups_of(titanic)
    pd.testing.assert_frame_equal(titanic, before)


def test_no_passengers_or_a_missing_column_is_refused(titanic):
    with pytest.raises(InvalidInputError, match="no passengers"):
        groups_of(titanic.head(0))
    with pytest.raises(InvalidInputError, match="sex"):
        groups_of(titanic.drop(columns="sex"))


def test_name_of_a_group():
    attributes = {"sex": "male", "age_band": "adult", "pclass": 3, "family": "alone", "embarked": "S"}
    words = "male adult passengers in third class travelling alone from Southampton"
    assert Group(attributes=attributes, count=1, survived=0).name == words
    assert Group(attributes={}, count=1, survived=0).name == "all passengers"


def test_group_with_most_known_attributes_decides():
    male = Group(attributes={"sex": "male"}, count=60, survived=10)
    third = Group(attributes={"pclass": 3}, count=60, survived=15)
    both = Group(attributes={"sex": "male", "pclass": 3}, count=40, survived=5)
    tiny = Group(attributes={"sex": "male", "pclass": 3, "age_band": "child"}, count=19, survived=19)

    def framework(*groups):
        everybody = Group(attributes={}, count=100, survived=40)
        return Framework(version="1", fingerprint="f", text="t", provenance={}, groups=[everybody, *groups])

    whole = framework(third, male, both, tiny)
    assert whole.group_for({"sex": "male", "pclass": 3, "age_band": "child"}) == both
    assert whole.group_for({"sex": "male", "pclass": 1}) == male
    assert whole.group_for({"sex": "female", "pclass": 3}) == third
    assert whole.group_for({}).attributes == {}
    assert framework(third, male).group_for({"sex": "male", "pclass": 3}) == male


def test_the_model_gets_the_rates_and_its_framework_is_kept(titanic, scripted, tmp_path):
    model = scripted({"framework": TEXT, "rules": RULES})
    output = build_framework(titanic, tmp_path, model)
    assert "female passengers in first class: 94, 97 %" in model.asked[0][-1]["content"]
    assert (output["text"], output["source"], output["unchecked"]) == (TEXT, "model", [])
    assert output["checked"] == {"framework": ["numbers"], "rules": ["members"]}
    rule = {"conditions": {"sex": "female", "pclass": 3}, "count": 144, "survived": 72, "rate": 0.5}
    assert output["rules"][2] == rule
    assert {"sex": "female", "count": 314, "survived": 233, "rate": 0.742} in output["rates"]
    kept = newest_framework(tmp_path)
    assert (kept.text, kept.version, len(kept.rules)) == (TEXT, output["framework_version"], 3)
    assert json.loads(json.dumps(output)) == output


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"framework": TEXT.replace("74 %", "75 %")}, "numbers"),
        ({"framework": TEXT + " It sank in 1912."}, "numbers"),
        ({"rules": [{"group": "female passengers", "count": 577, "survival_percent": 74}]}, "members"),
        ({"rules": [{"group": "female passengers", "count": 314, "survival_percent": 19}]}, "members"),
        ({"rules": [{"group": "rich passengers", "count": 314, "survival_percent": 74}]}, "members"),
        ({"rules": []}, "format"),
    ],
)
def test_what_the_counts_do_not_say_is_refused(titanic, scripted, tmp_path, changes, check):
    wrong = {"framework": TEXT, "rules": RULES} | changes
    model = scripted(wrong, {"framework": TEXT, "rules": RULES})
    output = build_framework(titanic, tmp_path, model)
    assert (output["source"], output["attempts"]) == ("model", 2)
    assert output["refusals"][0]["check"] == check
    assert output["refusals"][0]["reason"] in model.asked[1][-1]["content"]


def test_a_group_is_taken_however_its_name_is_written(titanic, scripted, tmp_path):
    rule = {"group": "  All   Passengers ", "count": len(titanic), "survival_percent": 38}
    output = build_framework(titanic, tmp_path, scripted({"framework": TEXT, "rules": [rule]}))
    assert (output["source"], output["rules"][0]["conditions"]) == ("model", {})


def test_without_a_good_answer_code_writes_the_framework(titanic, scripted, tmp_path):
    output = build_framework(titanic, tmp_path, scripted("", ""))
    assert output["source"] == "facts"
    assert "female passengers 74 %" in output["text"]
    assert len(output["rules"]) == 9


def test_what_code_writes_passes_the_checks(titanic):
    shown = groups_shown(groups_of(titanic))
    made = framework_from_counts(shown)
    inputs = {"groups": [group.facts() for group in shown]}
    prompt = load_prompt("build_decision_framework")
    assert prompt.format_problem(made) is None
    assert [check.problem(made, inputs) for check in prompt.checks] == [None, None]


def test_the_same_framework_is_kept_once(titanic, scripted, tmp_path):
    first = build_framework(titanic, tmp_path, scripted("", ""))
    again = build_framework(titanic, tmp_path, scripted("", ""))
    assert first["framework_version"] == again["framework_version"]
    other = build_framework(titanic.head(500), tmp_path, scripted("", ""))
    assert other["framework_version"] > first["framework_version"]
    assert newest_framework(tmp_path).version == other["framework_version"]


@pytest.mark.parametrize("content", ["", '{"version": "9"', '{"version": "9"}', "[]"])
def test_a_version_that_cannot_be_read_is_skipped(titanic, scripted, tmp_path, content):
    good = build_framework(titanic, tmp_path, scripted("", ""))["framework_version"]
    (tmp_path / "99990101T000000000000Z-00000000.json").write_text(content)
    assert newest_framework(tmp_path).version == good


def test_a_version_of_an_earlier_release_is_read(tmp_path):
    group = {"attributes": {}, "count": 10, "survived": 5}
    old = {"version": "1", "fingerprint": "f", "groups": [group], "summary": "half of them", "provenance": {}}
    (tmp_path / "1.json").write_text(json.dumps(old))
    assert newest_framework(tmp_path).text == "half of them"


def test_there_is_none_yet(tmp_path):
    with pytest.raises(NotReadyError, match="llm_inference"):
        newest_framework(tmp_path / "nowhere")


def test_old_versions_are_removed(titanic, scripted, tmp_path):
    for number in range(KEPT_VERSIONS + 3):
        (tmp_path / f"{number:02}.json").write_text("{}")
    build_framework(titanic, tmp_path, scripted("", ""))
    assert len(list(tmp_path.glob("*.json"))) == KEPT_VERSIONS


class TestCorpus:
    @pytest.fixture
    def problem(self, titanic):
        groups = groups_of(titanic)
        named = [{}, {"sex": "female"}, {"sex": "male"}, {"pclass": 1}, {"pclass": 3}, {"age_band": "child"}]
        inputs = {"groups": [group_of(groups, **attributes).facts() for attributes in named]}
        check = load_prompt("build_decision_framework").checks[0]
        return lambda _, text: check.problem({"framework": text}, inputs)

    @pytest.mark.parametrize("half", ["framework", "framework_held_out"])
    def test_falsehoods(self, half, problem, record_property):
        wrong, _ = corpus.passing(CORPUS / f"{half}.yaml", "refuse", corpus.FORBIDDEN_KINDS, problem)
        assert wrong == []
        subtle, count = corpus.passing(CORPUS / f"{half}.yaml", "refuse", {"other"}, problem)
        record_property("subtle_falsehoods_that_pass", f"{len(subtle)} of {count}")

    @pytest.mark.parametrize("half", ["framework", "framework_held_out"])
    def test_honest_texts_pass(self, half, problem):
        passed, count = corpus.passing(CORPUS / f"{half}.yaml", "accept", None, problem)
        assert len(passed) >= 0.95 * count
