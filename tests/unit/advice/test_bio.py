from pathlib import Path

import pytest
import yaml

from workflows.advice.bio import MAX_BIO_CHARACTERS, attributes_of, clean, known_values, read_about_me
from workflows.common.errors import InvalidInputError

DOCUMENTED = "I am a 21-year-old male from Japan and I have OP cheat-magic. I am a student and I love to travel."


def values(bio):
    return {name: found.value for name, found in attributes_of(bio).items() if found is not None}


def test_documented_bio():
    attributes = attributes_of(DOCUMENTED)
    assert values(DOCUMENTED) == {"sex": "male", "age": 21}
    for found in filter(None, attributes.values()):
        assert DOCUMENTED[found.start : found.end] == found.text
    assert known_values(attributes) == {"sex": "male", "age_band": "adult"}


@pytest.mark.parametrize(
    ("bio", "expected"),
    [
        ("I'm a woman.", {"sex": "female"}),
        ("Mrs Smith, aged 63", {"sex": "female", "age": 63}),
        ("I am a father.", {"sex": "male"}),
        ("I am a mother of two sons.", {"sex": "female"}),
        ("My brother is a tall man.", {}),
        ("I am 30.", {"age": 30}),
        ("I am 30 years old and happy", {"age": 30}),
        ("I'm 5 feet tall", {}),
        ("I am 300 years old", {}),
        ("A man of 45", {"sex": "male", "age": 45}),
        ("My 5-year-old daughter sings", {}),
        ("I am 30 years old, then again I am 40 years old", {}),
        ("I travel first class", {"pclass": 1}),
        ("3rd-class ticket", {"pclass": 3}),
        ("in steerage", {"pclass": 3}),
        ("I am not in first class", {}),
        ("I wish I were in first class", {}),
        ("first class or second class", {}),
        ("I boarded at Cherbourg", {"embarked": "C"}),
        ("travelling alone", {"family": 1}),
        ("with my wife and 3 children", {"family": 5}),
        ("with my parents and two brothers", {"family": 5}),
        ("with my children", {}),
        ("with my dog", {}),
        ("I am not a woman", {}),
        ("I am a man and a woman", {}),
        ("I like tea", {}),
        ("I live in Southampton with my wife and 3 kids.", {}),
        ("I'm from Cherbourg.", {}),
        ("I miss my home.", {}),
        ("I love Lady Gaga.", {}),
        ("I drive a 12-year-old car.", {}),
        ("My daughter, aged 5, sings.", {}),
        ("I'm looking for a woman of 30.", {}),
        ("My husband is a gentleman and travels first class.", {}),
        ("I'm a first-class cook.", {}),
        ("I came in second.", {}),
        ("I work at Baker Street, 21, London.", {}),
        ("When I turned 30, I moved.", {}),
        ("I turned 30 ten years ago.", {}),
        ("I'm no lady.", {}),
        ("People call me a girl but I'm a man.", {"sex": "male"}),
        ("I am 21-ish.", {}),
        ("I'm 30 years into my career.", {}),
        ("I am 10 years old at heart", {}),
        ("My mother, a woman of 60, is with me.", {}),
        ("My twin and I are 25.", {}),
        ("Ms Jones told me I'm 40.", {}),
        ("I'm Sam, 30, and my wife Ann, 28, is a nurse.", {"age": 30}),
        ("I'd rather be in first class, but third class it is", {}),
        ("I'm as strong as a man", {}),
        ("I'm going to be a father.", {}),
        ("I'm a mother-in-law", {}),
        ("I travel with my wife. Also with my son.", {}),
        ("with my wife's sister", {}),
        ("We are sailing with our two kids.", {}),
        ("My husband and I are sailing with our two kids.", {"family": 4}),
        ("We're a family of four.", {"family": 4}),
    ],
)
def test_attributes(bio, expected):
    assert values(bio) == expected


def corpus(name):
    return yaml.safe_load(
        (Path(__file__).parents[1] / "ai_blocks" / "corpus" / f"{name}.yaml").read_text(encoding="utf-8")
    )["bios"]


@pytest.mark.parametrize("entry", [*corpus("bios"), *corpus("bios_held_out")], ids=lambda entry: entry["bio"][:30])
def test_no_attribute_of_a_realistic_bio_is_wrong(entry):
    bio = entry["bio"]
    found = {name: one for name, one in attributes_of(bio).items() if one is not None}
    assert {name: one.value for name, one in found.items()}.items() <= entry["expected"].items()
    for one in found.values():
        assert bio[one.start : one.end].split() == one.text.split()


def test_places_are_those_of_the_text_that_was_sent():
    bio = "Hello,\n\n   I am  a \u200b  21-year-\u200bold \tmale, \x00 from Japan"
    found = attributes_of(bio)
    assert bio[found["age"].start : found["age"].end] == "21-year-\u200bold"
    assert bio[found["sex"].start : found["sex"].end] == "male"


@pytest.mark.parametrize(("name", "share"), [("bios", 0.9), ("bios_held_out", 0.75)])
def test_most_attributes_of_realistic_bios_are_found(name, share):
    stated = sum(len(entry["expected"]) for entry in corpus(name))
    assert sum(len(values(entry["bio"])) for entry in corpus(name)) >= share * stated


@pytest.mark.parametrize(
    ("about_me", "field", "reason"),
    [
        (None, "about_me", "missing"),
        ("I am 21", "about_me", "object"),
        ({}, "about_me.bio", "missing"),
        ({"bio": None}, "about_me.bio", "missing"),
        ({"bio": 21}, "about_me.bio", "not a string"),
        ({"bio": ["I am 21"]}, "about_me.bio", "not a string"),
        ({"bio": " \x00\u200b\n"}, "about_me.bio", "empty"),
        ({"bio": "x" * (MAX_BIO_CHARACTERS + 1)}, "about_me.bio", "longer"),
    ],
)
def test_other_input_is_refused_and_the_field_named(about_me, field, reason):
    with pytest.raises(InvalidInputError) as error:
        read_about_me(about_me)
    assert set(error.value.fields) == {field}
    assert reason in error.value.fields[field]


def test_longest_bio_is_taken():
    assert len(read_about_me({"bio": "x" * MAX_BIO_CHARACTERS})) == MAX_BIO_CHARACTERS


def test_control_and_format_characters_are_dropped():
    assert clean("I\x00 am\r\n\ta \u202ewo\u200bman\x1b[2J")[0] == "I am a woman[2J"
