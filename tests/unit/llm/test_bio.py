import pytest

from workflows.errors import InvalidInputError
from workflows.llm.bio import MAX_BIO_CHARACTERS, attributes_of, clean, known_values, read_about_me

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
        ("My brother is a tall man.", {"sex": "male"}),
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
    ],
)
def test_attributes(bio, expected):
    assert values(bio) == expected


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
    assert clean("I\x00 am\r\n\ta \u202ewo\u200bman\x1b[2J") == "I am a woman[2J"
