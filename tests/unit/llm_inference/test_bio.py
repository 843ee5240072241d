from pathlib import Path

import pytest

from tests import corpus
from workflows.common.errors import InvalidInputError
from workflows.llm_inference.bio import MAX_BIO_CHARACTERS, check_about_me, read_bio, read_by_rules

FRENCH = "Je suis un homme de 45 ans, en troisième classe, et je nage très bien."
CORPUS = Path(__file__).parent / "corpus"


def entry(attribute, value, quote):
    return {"attribute": attribute, "value": value, "quote": quote}


def reading(scripted, bio, *attributes, traits=()):
    return read_bio(bio, scripted({"attributes": list(attributes), "traits": list(traits)}))


def traits_of(scripted, bio, *traits, attributes=()):
    found = reading(scripted, bio, *attributes, traits=[{"trait": trait, "quote": quote} for trait, quote in traits])
    return [one["trait"] for one in found.traits], found.ignored


class TestTraits:
    BIO = "I am a 21-year-old male student who loves to travel, a strong swimmer and a trained nurse."
    AGE = entry("age", "21", "I am a 21-year-old male")

    def test_the_words_of_the_example_need_a_quote_that_says_them(self, scripted):
        kept, ignored = traits_of(scripted, self.BIO, ("swims very well", "I am a 21-year-old male"))
        assert kept == []
        assert ignored == [
            "trait 'swims very well': its quote 'I am a 21-year-old male' is about something else",
        ]
        assert traits_of(scripted, self.BIO, ("swims very well", "a strong swimmer")) == (["swims very well"], [])

    def test_an_attributes_quote_says_nothing_of_a_trait_but_in_its_own_words(self, scripted):
        traits = [("works hard", self.AGE["quote"]), ("is male", self.AGE["quote"])]
        kept, ignored = traits_of(scripted, self.BIO, *traits, attributes=[self.AGE])
        assert kept == ["is male"]
        assert len(ignored) == 1

    def test_a_quote_that_several_traits_have_counts_for_those_that_it_names(self, scripted):
        quote = "a strong swimmer and a trained nurse"
        kept, ignored = traits_of(scripted, self.BIO, ("swimmer", quote), ("nurse", quote), ("rich", quote))
        assert kept == ["swimmer", "nurse"]
        assert len(ignored) == 1

    def test_a_quote_of_its_own_is_enough_in_any_language(self, scripted):
        assert traits_of(scripted, FRENCH, ("good swimmer", "je nage très bien")) == (["good swimmer"], [])

    def test_a_trait_that_is_told_twice_is_kept_once(self, scripted):
        assert traits_of(scripted, FRENCH, *[("good swimmer", "je nage très bien")] * 2) == (["good swimmer"], [])


def test_the_model_reads_any_language(scripted):
    model = scripted(
        {
            "attributes": [
                entry("sex", "male", "un homme"),
                entry("age", "45", "de 45 ans"),
                entry("pclass", "3", "en troisième classe"),
            ],
            "traits": [{"trait": "swims well", "quote": "je nage très bien"}],
        }
    )
    found = read_bio(FRENCH, model)
    assert FRENCH in model.asked[0][-1]["content"]
    assert {name: one["value"] for name, one in found.attributes.items()} == {"sex": "male", "age": 45.0, "pclass": 3}
    assert {one["read_by"] for one in found.attributes.values()} == {"model"}
    assert found.traits == [{"trait": "swims well", "quote": "je nage très bien"}]
    assert found.known_values() == {"sex": "male", "pclass": 3, "age_band": "adult"}
    assert found.ignored == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (entry("age", "30", "I am 30"), "does not stand in the bio"),
        (entry("age", "54", "45 ans"), "another number"),
        (entry("age", "450", "homme"), "outside 0 to 120"),
        (entry("age", "forty", "homme"), "not a number"),
        (entry("pclass", "4", "troisième"), "outside 1 to 3"),
        (entry("sex", "rich", "homme"), "none of male, female"),
        (entry("embarked", "Paris", "homme"), "none of C, Q, S"),
        (entry("age", "", "homme"), "is empty"),
        (entry("family", "0", "homme"), "outside 1 to 20"),
    ],
)
def test_a_value_without_its_quote_or_against_the_contract_does_not_count(scripted, wrong, reason):
    found = reading(scripted, FRENCH, entry("sex", "male", "un homme"), wrong)
    assert set(found.attributes) == {"sex"}
    assert len(found.ignored) == 1
    assert reason in found.ignored[0]


def test_the_first_of_two_values_counts(scripted):
    found = reading(scripted, "I am 30, no, 31", entry("age", "30", "I am 30"), entry("age", "31", "31"))
    assert found.attributes["age"]["value"] == 30
    assert "is also 30" in found.ignored[0]


def test_ports_and_families(scripted):
    bio = "My wife, our three children and I board at Cherbourg"
    found = reading(
        scripted, bio, entry("embarked", "Cherbourg", "Cherbourg"), entry("family", "5", "our three children")
    )
    assert found.known_values() == {"embarked": "C", "family": "large"}


def test_traits_without_their_quote_are_left_out(scripted):
    assert reading(scripted, FRENCH, traits=[{"trait": "is rich", "quote": "very rich"}]).traits == []


BIO = "I am a 21-year-old male in third class."


def test_rules_read_where_the_model_reads_nothing(scripted):
    found = reading(scripted, BIO)
    assert {name: (one["value"], one["read_by"]) for name, one in found.attributes.items()} == {
        "age": (21.0, "rules"),
        "sex": ("male", "rules"),
        "pclass": (3, "rules"),
    }
    assert read_bio(BIO, scripted("nonsense", "")).attributes == found.attributes


def test_rules_fill_in_where_the_model_invents_quotes(scripted):
    found = reading(scripted, BIO, entry("sex", "female", "21-year-old male"), entry("age", "8", "eight"))
    assert (found.attributes["sex"]["value"], found.attributes["sex"]["read_by"]) == ("female", "model")
    assert (found.attributes["age"]["value"], found.attributes["age"]["read_by"]) == (21.0, "rules")


def test_what_a_good_reader_leaves_out_stays_out(scripted):
    found = reading(scripted, "I was a 21-year-old man once.", entry("sex", "male", "man"))
    assert set(found.attributes) == {"sex"}


@pytest.mark.parametrize("half", ["bios", "bios_held_out"])
def test_rules_read_nothing_wrong(half):
    for one in corpus.load(CORPUS / f"{half}.yaml")["bios"]:
        for name, found in read_by_rules(one["bio"]).items():
            assert one["expected"].get(name) == found["value"], one["bio"]


@pytest.mark.parametrize(
    ("about_me", "field", "reason"),
    [
        (None, "about_me", "is missing"),
        ("I am 21", "about_me", "is not an object"),
        ({}, "about_me.bio", "is missing"),
        ({"bio": 21}, "about_me.bio", "is not a string"),
        ({"bio": " \n\t\u200b"}, "about_me.bio", "is empty"),
        ({"bio": "a" * (MAX_BIO_CHARACTERS + 1)}, "about_me.bio", f"is longer than {MAX_BIO_CHARACTERS} characters"),
    ],
)
def test_wrong_input(about_me, field, reason):
    with pytest.raises(InvalidInputError) as caught:
        check_about_me(about_me)
    assert caught.value.fields == {field: reason}
