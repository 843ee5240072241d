"""What large models write about real facts: honest paraphrases pass, falsehoods do not, however they are put."""

import re
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.advice import framework, survival_advice
from workflows.advice.bio import attributes_of, known_values
from workflows.advice.framework import Framework, Group, groups_of
from workflows.ai_blocks.grounding import Fact, examine, objection, read
from workflows.common.settings import get_settings
from workflows.dynamic_blocks import fun_facts
from workflows.sql_python.passenger_files import load_passengers
from workflows.survival import explanation
from workflows.survival.features import FEATURES

FOLDER = Path(__file__).with_name("corpus")
# Share of the honest paraphrases that have to pass, in per cent; of the falsehoods none may.
ACCEPTED = {
    "fun_facts": 90, "fun_facts_held_out": 65, "explanation": 90, "explanation_held_out": 60, "framework": 90,
    "framework_held_out": 55, "will_i_survive": 90, "will_i_survive_held_out": 45,
}  # fmt: skip


@cache
def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def the_framework() -> Framework:
    groups = groups_of(load_passengers(str(get_settings().data_dir / "titanic.csv")))
    return Framework(version="1", fingerprint="f", summary="s", provenance={}, groups=groups)


def facts_about(block: str, case: Any) -> list[Any]:
    if block == "fun_facts":
        return fun_facts.facts_of(case)[:1]
    if block == "framework":
        return framework.facts_of(the_framework().groups)
    if block == "explanation":
        return explanation.facts_of(content("explanation")["cases"][case])
    attributes = attributes_of(content("will_i_survive")["cases"][case])
    return survival_advice.facts_of(attributes, the_framework().group_for(known_values(attributes)))


def unsupported(text: str, facts: list[Fact]) -> str | None:
    return examine(text, facts).unsupported


def reason_against(block: str, case: Any, text: str) -> str | None:
    facts = facts_about(block, case)
    if block == "fun_facts":
        return objection(text, facts[:1], {str(case)})
    if block == "explanation":
        return objection(text, facts) or explanation.unclear_chance({"explanation": text}, facts)
    return objection(text, facts)


def entries(label: str) -> list[Any]:
    return [
        pytest.param(name.removesuffix("_held_out"), entry.get("case"), entry["text"], id=f"{name}-{number}")
        for name in ACCEPTED
        for number, entry in enumerate(content(name)["texts"])
        if entry["label"] == label
    ]


@pytest.mark.parametrize(("block", "case", "text"), entries("refuse"))
def test_falsehood_is_refused(block, case, text):
    assert reason_against(block, case, text) is not None


@pytest.mark.parametrize("name", ACCEPTED)
def test_honest_paraphrases_pass(name):
    block = name.removesuffix("_held_out")
    honest = [entry for entry in content(name)["texts"] if entry["label"] == "accept"]
    passed = [entry for entry in honest if reason_against(block, entry.get("case"), entry["text"]) is None]
    assert len(honest) >= 12
    assert 100 * len(passed) / len(honest) >= ACCEPTED[name]


OPPOSITES = [
    ("raised", "lowered"), ("raised", "reduced"), ("increased", "decreased"), ("improved", "reduced"),
    ("boosted", "hurt"),
    ("helped", "hurt"), ("helped", "worked against"), ("raising", "lowering"), ("positive", "negative"), ("up", "down"),
    ("in her favour", "against her"), ("survived", "died"), ("survive", "die"), ("survived", "perished"),
    ("survival", "death"), ("survival", "dying"), ("surviving", "dying"), ("yes", "no"), ("female", "male"),
    ("females", "males"), ("woman", "man"), ("women", "men"), ("girls", "boys"), ("she", "he"), ("her", "his"),
    ("first", "third"), ("first", "second"), ("second", "third"), ("adult", "child"), ("adults", "children"),
    ("alone", "in a family of 3"), ("small", "large"), ("queenstown", "southampton"), ("likely", "unlikely"),
    ("prime", "composite"), ("square", "cube"), ("perfect", "imperfect"), ("only", "not only"), ("all", "some"),
    ("you", "they"), ("most", "least"), ("strongest", "weakest"), ("would", "should"), ("good", "bad"),
]  # fmt: skip


def mutations(text: str) -> set[str]:
    """Texts that differ in one place from a true one, and are not true."""
    found = set()
    for one, other in [*OPPOSITES, *((other, one) for one, other in OPPOSITES)]:
        for match in re.finditer(rf"\b{one}\b", text, re.IGNORECASE):
            found.add(f"{text[: match.start()]}{other}{text[match.end() :]}")
    numbers = list(re.finditer(r"\d+", text))
    for match in numbers:
        for changed in (int(match.group()) + 1, int(match.group()) - 1):
            found.add(f"{text[: match.start()]}{changed}{text[match.end() :]}")
    for one, other in combinations(numbers, 2):
        if one.group() != other.group():
            middle = text[one.end() : other.start()]
            found.add(f"{text[: one.start()]}{other.group()}{middle}{one.group()}{text[other.end() :]}")
    for match in re.finditer(r"\bnot\b ?|n't\b", text, re.IGNORECASE):
        found.add(text[: match.start()] + text[match.end() :])
    for match in re.finditer(r"\b(is|are|was|were|would|had|have|be|survived|died|raised|lowered)\b", text):
        for denial in ("not", "never", "hardly"):
            found.add(f"{text[: match.end()]} {denial}{text[match.end() :]}")
            found.add(f"{text[: match.start()]}{denial} {text[match.start() :]}")
    return {mutated for mutated in found if read(mutated) != read(text)}


@pytest.mark.parametrize(("block", "case", "text"), entries("accept"))
def test_no_mutation_of_an_honest_text_passes(block, case, text):
    if reason_against(block, case, text) is None:
        passed = [mutated for mutated in mutations(text) if reason_against(block, case, mutated) is None]
        assert passed == []


@pytest.mark.parametrize("number", [1, 2, 5, 6, 7, 8, 9, 10, 13, 14, 22, 24, 28, 32, 64, 96, 97, 101, 144])
def test_no_mutation_of_a_fact_about_a_number_passes(number):
    for fact in fun_facts.facts_of(number):
        for mutated in mutations(fact.text):
            assert objection(mutated, [fact], {str(number)}) is not None, mutated


contributions = st.dictionaries(
    st.sampled_from(sorted(FEATURES)), st.floats(-3, 3).filter(lambda value: abs(value) > 0.01), min_size=2, max_size=5
)
passengers = st.fixed_dictionaries(
    {
        "pclass": st.sampled_from([1, 2, 3, None]),
        "_name": st.sampled_from(["Kim", "Kim, Master. Min", "Kim, Mrs. Min", None]),
        "sex": st.sampled_from(["male", "female", None]),
        "age": st.sampled_from([4.0, 17.0, 36.5, None]),
        "sibsp": st.integers(0, 2),
        "parch": st.integers(0, 2),
        "fare": st.sampled_from([7.25, 80.0, None]),
        "cabin": st.sampled_from(["C85", None]),
        "embarked": st.sampled_from(["S", "C", "Q", None]),
    }
)


@settings(max_examples=10, deadline=None)
@given(passengers, contributions, st.floats(0, 1))
def test_explanation_from_the_facts_passes_and_no_mutation_of_it_does(passenger, contributions, probability):
    prediction = {
        "survived": int(probability >= 0.5),
        "probability": probability,
        "passenger": passenger,
        "contributions": contributions,
    }
    facts = explanation.facts_of(prediction)
    for fact in facts:
        assert unsupported(fact.text, facts) is None
        for mutated in mutations(fact.text):
            assert unsupported(mutated, facts) is not None, mutated
    assert objection(" ".join(fact.text for fact in facts), facts) is None


@settings(max_examples=10, deadline=None)
@given(passengers, contributions)
def test_subjects_of_two_directions_cannot_be_swapped_or_joined(passenger, contributions):
    prediction = {"survived": 0, "probability": 0.3, "passenger": passenger, "contributions": contributions}
    facts = explanation.facts_of(prediction)
    strongest = explanation.strongest_contributions(contributions)
    described = [explanation.describe(feature, passenger) for feature, _ in strongest]
    for (one, (_, first)), (other, (_, second)) in combinations(zip(described, strongest, strict=True), 2):
        if (first > 0) != (second > 0) and one != other:
            verbs = ["raised" if value > 0 else "lowered" for value in (first, second)]
            said = f"{one} {verbs[0]} the chance of survival and {other} {verbs[1]} it."
            swapped = f"{other} {verbs[0]} the chance of survival and {one} {verbs[1]} it."
            assert unsupported(said, facts) is None
            assert unsupported(swapped, facts) is not None
            for verb in verbs:
                assert unsupported(f"{one} and {other} {verb} the chance of survival.", facts) is not None


groups = st.builds(
    lambda attributes, count, share: Group(attributes=attributes, count=count, survived=round(count * share)),
    st.fixed_dictionaries(
        {},
        optional={
            "sex": st.sampled_from(["male", "female"]),
            "pclass": st.sampled_from([1, 2, 3]),
            "age_band": st.sampled_from(["child", "teenage", "adult", "old"]),
            "family": st.sampled_from(["alone", "small", "large"]),
            "embarked": st.sampled_from(["S", "C", "Q"]),
        },
    ),
    st.integers(20, 900),
    st.floats(0, 1),
)


@settings(max_examples=10, deadline=None)
@given(groups)
def test_rate_of_a_group_passes_and_no_mutation_of_it_does(group):
    facts = [framework.rate_fact(group)]
    assert objection(facts[0].text, facts) is None
    for mutated in mutations(facts[0].text):
        assert objection(mutated, facts) is not None, mutated


@settings(max_examples=10, deadline=None)
@given(groups, st.sampled_from(["", "A woman of 30 in first class with my husband", "I am a boy of 9 from Cherbourg"]))
def test_answer_from_the_facts_passes_and_no_mutation_of_it_does(group, bio):
    facts = survival_advice.facts_of(attributes_of(bio), group)
    text = " ".join(fact.text for fact in facts)
    assert objection(text, facts) is None
    for mutated in mutations(text):
        assert unsupported(mutated, facts) is not None, mutated
