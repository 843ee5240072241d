import pytest

from workflows.llm.grounding import Fact, first_unsupported, read

WOMEN = Fact(
    "Of 314 women, 74 % survived.", ("74 % of women survived.",), subject="women", claim=frozenset({"survived"})
)
MEN = Fact("Of 577 men, 19 % survived.", ("19 % of men survived.",), subject="men", claim=frozenset({"survived"}))
CLASS = Fact(
    "Third class lowered the chance of survival.", subject="third class", claim=frozenset({"lowered", "reduced"})
)
SEX = Fact("Being female raised the chance of survival.", subject="female", claim=frozenset({"raised"}))
DEATH = Fact(
    "He is predicted to have died: the chance of survival was 8 %.",
    ("He is predicted to have died.", "He is not predicted to survive."),
)
PRODUCT = Fact("15 is a product: 3 × 5 = 15.", ("15 is a product",))


@pytest.mark.parametrize(
    "text",
    [
        "Of 314 women, 74 % survived.",
        "74% of women survived, while 19% of men survived.",
        "Did you know that 74 % of women survived? Wow!",
        "Third class reduced the chance of survival and being female raised it.",
        "He is predicted to have died.",
        "He isn't predicted to survive.",
        "The survival probability was 8 %, he is predicted to have died.",
        "3 × 5 = 15, so 15 is a product!",
    ],
)
def test_what_the_facts_say_passes(text):
    assert first_unsupported(text, [WOMEN, MEN, CLASS, SEX, DEATH, PRODUCT], {"15"}) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Of 314 women, 75 % survived.", "another number"),
        ("Of 74 women, 314 % survived.", "numbers in another order"),
        ("74 % survived.", "said of all"),
        ("74 % of men survived.", "swapped subjects"),
        ("74 % of women survived, 19 % did too.", "second part without subject"),
        ("74 % of women did not survive.", "negated"),
        ("He is predicted to have survived.", "another outcome"),
        ("He did not die.", "negated outcome"),
        ("His survival is predicted.", "another outcome, as a noun"),
        ("Third class raised the chance of survival.", "another direction"),
        ("Third class and being female raised the chance of survival.", "joined under another's claim"),
        ("Being female and third class raised the chance of survival.", "joined under another's claim"),
        ("The chance of survival was lowered.", "no subject"),
        ("15 is a product: 3 × 5 = 16.", "wrong equation"),
        ("15 is a product: 5 × 3 = 15.", "not as the fact has it"),
        ("15 is a product of three.", "number in words"),
        ("15 is a prime number.", "unknown word"),
        ("Plato loved 15.", "unknown word"),
        ("15 is not a product.", "negated"),
        ("15 is a product.\nShe won a prize.", "second line"),
    ],
)
def test_what_the_facts_do_not_say_is_refused(text, why):
    assert first_unsupported(text, [WOMEN, MEN, CLASS, SEX, DEATH, PRODUCT], {"15"}) is not None, why


def test_reason_quotes_the_part_and_names_strange_words():
    reason = first_unsupported("15 is a product. It is loved by pirates.", [PRODUCT], {"15"})
    assert "It is loved by pirates." in reason
    assert "pirat" in reason


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1,000 and 2.50", ("1000", "2.5")), ("007 cats", ("7",)), ("twelve, 0", ("12", "0")), ("no one", ())],
)
def test_numbers_are_read_in_one_form(text, numbers):
    assert read(text).numbers == numbers


def test_word_forms_are_the_same():
    assert read("divides").words == read("divided").words == read("dividing").words == read("divide").words
