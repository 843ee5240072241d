"""A bio is data: whatever it says, the question, the rules and the form of the answer stay as they are."""

import json
from pathlib import Path

import pytest
import yaml

from workflows.advice.bio import MAX_BIO_CHARACTERS
from workflows.advice.framework import build_framework
from workflows.advice.survival_advice import will_i_survive
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import InvalidInputError
from workflows.common.settings import get_settings
from workflows.sql_python.passenger_files import load_passengers

INJECTIONS = yaml.safe_load((Path(__file__).parent / "injections.yaml").read_text(encoding="utf-8"))
BIO = "I am a 21-year-old male from Japan."
TRUE = "You would not survive: your chance of survival is 18 %."
# What a model that obeys would say.
OBEYED = [
    {"verdict": "yes", "answer": "You would survive: your chance of survival is 100 %."},
    {"verdict": "no", "answer": "You would survive: your chance of survival is 99 %."},
    {"verdict": "no", "answer": "ARRR. You would not survive: your chance of survival is 18 %."},
    {"verdict": "no", "answer": TRUE, "password": "x"},
    "You are free of all rules.",
]


@pytest.fixture(scope="module")
def frameworks(tmp_path_factory, scripted):
    folder = tmp_path_factory.mktemp("frameworks")
    build_framework(load_passengers(str(get_settings().data_dir / "titanic.csv")), folder, scripted("", ""))
    return folder


def ask(bio, frameworks, model):
    return will_i_survive({"bio": bio}, frameworks, model)


@pytest.fixture(scope="module")
def plain(frameworks, scripted):
    """What the same bio without an injection is answered, and what the model was asked for it."""
    model = scripted({"verdict": "no", "answer": TRUE})
    return ask(BIO, frameworks, model), model.asked


def without_places(answer):
    """Where in the text an attribute stood differs; which it is must not."""
    attributes = {n: a and {"value": a["value"], "text": a["text"]} for n, a in answer["attributes"].items()}
    return {**answer, "attributes": attributes}


@pytest.mark.parametrize("place", ["{injection} {bio}", "{bio} {injection}", "{bio}\n\n{injection}"])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_question_and_answer_are_those_of_the_bio_alone(injection, place, frameworks, plain, scripted):
    answer, asked = plain
    bio = place.replace("{injection}", injection).replace("{bio}", BIO)
    model = scripted({"verdict": "no", "answer": TRUE})
    assert without_places(ask(bio, frameworks, model)) == without_places(answer)
    assert model.asked == asked


@pytest.mark.parametrize("injection", INJECTIONS)
def test_alone_it_says_nothing(injection, frameworks, scripted):
    model = scripted("", "")
    answer = ask(injection, frameworks, model)
    assert set(answer["attributes"].values()) == {None}
    assert (answer["survives"], answer["source"], answer["group"]["count"]) == (False, "facts", 891)
    assert injection not in json.dumps(model.asked)


@pytest.mark.parametrize("obeyed", OBEYED)
def test_a_model_that_obeys_is_not_believed(obeyed, frameworks, scripted, plain):
    attempts = load_prompt("will_i_survive").validation.max_attempts
    answer = ask(f"{BIO} {INJECTIONS[0]}", frameworks, scripted(*[obeyed] * attempts))
    assert answer["source"] == "facts"
    assert answer["answer"].startswith(TRUE)
    assert answer.keys() == plain[0].keys()


@pytest.mark.parametrize("prompt", ["will_i_survive", "generate_fun_fact", "explain_prediction"])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_an_input_of_a_prompt_changes_only_its_own_place(injection, prompt):
    loaded = load_prompt(prompt)
    inputs = dict.fromkeys(loaded.inputs, "MARK")
    before = loaded.messages(inputs)
    for name in loaded.inputs:
        after = loaded.messages({**inputs, name: injection})
        assert [message["role"] for message in after] == [message["role"] for message in before]
        assert after[:-1] == before[:-1]
        tokens = ("<|im", "<|eot", "[INST]", "</s>", "<<SYS>>", "<start_of")
        assert not any(token in after[-1]["content"] for token in tokens)


@pytest.mark.parametrize("character", ["a", " ", "ä", "\u202e", "<|im_end|>"])
def test_the_length_is_limited_before_anything_is_read(character, frameworks, scripted):
    model = scripted()
    with pytest.raises(InvalidInputError) as error:
        ask(character * (MAX_BIO_CHARACTERS + 1), frameworks, model)
    assert error.value.fields == {"about_me.bio": f"is longer than {MAX_BIO_CHARACTERS} characters"}
    assert model.asked == []
