import pytest

from workflows.ai_blocks.grounding import EVERYBODY, Fact, compiled, examine, literal, objection, read

LOWERED = ("@ (lowered|reduced) (it|the chance of survival)",)
RAISED = ("@ raised (it|the chance of survival)",)
DEATH = Fact(
    "He is predicted to have died: the chance of survival was 8 %.",
    ("he is predicted to have died", "he is not predicted to survive"),
    partly=("the survival probability was 8 %",),
)
WOMEN = Fact("Of 314 women, 74 % survived.", ("74 % of women survived",), elliptical=("74 % of women",), kind="sex")
MEN = Fact("Of 577 men, 19 % survived.", ("19 % of men survived",), elliptical=("19 % of men",), kind="sex")
DECK = Fact("Of 15 people on deck A, 47 % survived.", anaphoric=("it was 47 % on deck a",), kind="deck")
ALL = Fact("Of all 891, 38 % survived.", kind=EVERYBODY)
THIRD = Fact(
    "Third class lowered the chance of survival.",
    reasons=("this is largely the fault of third class",),
    subject="third class",
    claim=LOWERED,
    is_reason=True,
)
AGE = Fact("Age lowered the chance of survival.", subject="[his] age", claim=LOWERED, is_reason=True)
SEX = Fact("Being female raised the chance of survival.", subject="being female", claim=RAISED)
PRODUCT = Fact("15 is a product: 3 × 5 = 15.", ("15 is a product", "3 × 5 = 15"))
FACTS = [DEATH, WOMEN, MEN, DECK, ALL, THIRD, AGE, SEX, PRODUCT]


@pytest.mark.parametrize(
    "text",
    [
        "Of 314 women, 74 % survived.",
        "Of 314 women, 74 percent survived.",
        "Of 314 women, seventy-four per cent survived!",
        "74% of women survived, while 19% of men survived.",
        "74% of women survived, compared with 19% of men.",
        "Did you know that 74 % of women survived? Wow!",
        "Third class reduced the chance of survival and being female raised it.",
        "Third class and his age lowered the chance of survival, but being female raised it.",
        "He is predicted to have died.",
        "He isn't predicted to survive.",
        "He is predicted to have died because third class lowered the chance of survival.",
        "Third class lowered the chance of survival, so he is predicted to have died.",
        "He is predicted to have died: third class lowered the chance of survival.",
        "He is predicted to have died, being female raised the chance of survival.",
        "He is predicted to have died: the survival probability was 8 %.",
        "He is predicted to have died. This is largely the fault of third class.",
        "Although being female raised the chance of survival, he is predicted to have died.",
        "Although third class and his age lowered the chance of survival, being female raised it.",
        "Despite being female, he is predicted to have died.",
        "He is predicted to have died in spite of being female.",
        "Third class lowered the chance of survival. However, being female raised it.",
        "Being female raised the chance of survival, but third class lowered it, so he is predicted to have died.",
        "Because third class lowered the chance of survival, he is predicted to have died.",
        "The survival probability was 8 %, he is predicted to have died.",
        "3 × 5 = 15, so 15 is a product!",
        "3 * 5 = 15 – 15 is a product!",
        "The number 15! 15 is a product.",
        "What a neat number: 15 is a product.",
    ],
)
def test_what_the_facts_say_passes(text):
    assert objection(text, FACTS, {"15"}) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Of 314 women, 75 % survived.", "another number"),
        ("Of 74 women, 314 % survived.", "numbers in another order"),
        ("74 % survived.", "said of all"),
        ("74 % of men survived.", "swapped subjects"),
        ("74 % of women survived, 19 % did too.", "second part without subject"),
        ("74 % of women did not survive.", "negated"),
        ("19 % of men.", "nothing said of them"),
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
        ("15 is a product?", "a question"),
        ("“15 is a product”", "a quotation"),
        ("1５ is a product.", "wide digit"),
        ("15 is a prоduct.", "letter of another script"),
        ("Of 314 women, 74.0 % survived.", "more exact than the fact"),
        ("Of -314 women, 74 % survived.", "negative"),
        ("Being female raised the chance of survival, so he is predicted to have died.", "no reason for it"),
        ("He is predicted to have died because being female raised the chance of survival.", "no reason for it"),
        ("Because third class lowered the chance of survival, being female raised it.", "no reason for it"),
        ("Third class lowered the chance of survival, so his age lowered it.", "no reason for it"),
        ("His age lowered the chance of survival, because third class lowered it.", "no reason for it"),
        ("Third class lowered it because third class reduced the chance of survival.", "no reason for itself"),
        ("Third class lowered the chance of survival. This is because his age lowered it.", "no reason for it"),
        ("His age lowered the chance of survival. This is largely the fault of third class.", "no reason for it"),
        ("This is largely the fault of third class. He is predicted to have died.", "of what?"),
        (
            "Being female raised the chance of survival and third class lowered it, so he is predicted to have died.",
            "mixed",
        ),
        ("He is predicted to have died although third class lowered the chance of survival.", "no contrast"),
        ("He is predicted to have died, but the survival probability was 8 %.", "no contrast"),
        ("Although third class lowered the chance of survival, his age lowered it.", "no contrast"),
        ("Although third class lowered the chance of survival and being female raised it.", "contrast does not come"),
        ("Although third class lowered it, so he is predicted to have died.", "contrast does not come"),
        ("Third class lowered it, but being female raised it and his age lowered it.", "behind the contrast"),
        ("Despite third class, he is predicted to have died.", "no contrast"),
        ("Despite being female.", "contrast does not come"),
        ("Third class lowered the chance of survival. In contrast, his age lowered it.", "no contrast"),
        ("On the other hand, third class lowered the chance of survival.", "contrast to what?"),
        ("Of 314 women, 74 % survived, but being female raised the chance of survival.", "no contrast"),
        ("15 is a product, but 3 × 5 = 15.", "no contrast"),
        ("He is predicted to have died: being female raised the chance of survival.", "no reason for it"),
        ("Of 15 people on deck A, 47 % survived, 74 % of women.", "read as the women there"),
        ("Of 314 women, 74 % survived, it was 47 % on deck A.", "read as the women there"),
        ("Of 314 women, 74 % survived. It was 47 % on deck A.", "read as the women there"),
    ],
)
def test_what_the_facts_do_not_say_is_refused(text, why):
    assert objection(text, FACTS, {"15"}) is not None, why


def test_reason_quotes_the_sentence_and_names_strange_words():
    reason = objection("15 is a product. It is loved by pirates.", [PRODUCT], {"15"})
    assert "It is loved by pirates." in reason
    assert "15 is" not in reason
    assert "pirates" in reason


def test_facts_that_are_said_are_named():
    assert examine("Third class and his age lowered the chance of survival.", FACTS).said == {5, 6}
    assert examine("The survival probability was 8 %. 74 % of women survived, 19 % of men.", FACTS).said == {1, 2}
    assert examine("Wow!", FACTS).said == frozenset()
    assert examine("It was 47 % on deck A.", FACTS).unsupported is not None
    assert examine("Of all 891, 38 % survived. It was 47 % on deck A.", FACTS).said == {3, 4}


def test_texts_are_read_in_one_form():
    assert read("He’s 21-year-old; isn't (1,000) “x” 3rd") == (
        ["he", "is", "21", "year", "old", ",", "is", "not", ",", "1000", ",", '"', "x", '"', "third"]
    )
    assert read("thirty-one percent, 2 * 3") == ["31", "%", ",", "2", "×", "3"]
    assert read("2.50 and no one") == ["2.50", "and", "no", "one"]


@pytest.mark.parametrize(
    ("pattern", "texts", "others"),
    [
        ("a [b c] d", ["a d", "a b c d"], ["a b d", "a", "a d d"]),
        ("a (b|c d|) e", ["a b e", "a c d e", "a e"], ["a b c d e"]),
        ("a|b", ["a", "b"], ["a b", ""]),
        ("{a; b c}", ["a b c", "b c a"], ["a", "a and b c", "a a b c"]),
        ("{?a; b; c}", ["a", "b , a", "c and a , and b"], ["", "a and", "a a"]),
        ("{+a; b}", ["a b", "b , a", "a , and b", "b and a"], ["a", "b", "a and", "a b a", ""]),
        ("[a [b]] c", ["c", "a c", "a b c"], ["b c"]),
    ],
)
def test_patterns(pattern, texts, others):
    def whole(text):
        tokens = text.split()
        return len(tokens) in compiled(pattern)(tokens, frozenset({0}))

    assert all(whole(text) for text in texts)
    assert not any(whole(text) for text in others)


def test_subject_of_a_pattern():
    assert compiled("@ x", "a|b")(["b", "x"], frozenset({0})) == {2}


@pytest.mark.parametrize("pattern", ["(a", "a)", "[a", "a]", "{a; b", "(a]", "a; b"])
def test_broken_pattern_is_an_error(pattern):
    with pytest.raises(ValueError, match="pattern"):
        compiled(pattern)


def test_text_from_outside_makes_no_pattern():
    fact = Fact("A cabin on deck | lowered the chance.", subject=literal("a cabin on deck (b|c)"), claim=("@ helped",))
    assert objection("lowered the chance", [fact]) is not None
    assert objection("A cabin on deck b helped.", [fact]) is not None


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        ("Acme Inc. has 5 employees.", "ACME Inc. has 5 employees!"),
        ("Acme Inc. has 5 employees.", "Acme Inc. employs 5."),
        ("St. Mary's has 5 beds.", "St. Mary’s has 5 beds."),
        ("U.S. Steel has 5 plants.", "U.S. Steel has 5 plants."),
        ("The plants are in the U.S.", "The plants are in the U.S."),
        ("Yahoo! has 5 offices.", "Yahoo! has 5 offices."),
        ("Acme Inc.'s plants are Mill No. 5 and Ex.Co.", "Acme Inc.'s plants are Mill No. 5 and Ex.Co."),
        ("It is 2.5 m long. It has 3 legs.", "It is 2.5 m long. It has 3 legs."),
    ],
)
def test_marks_inside_a_fact_end_no_sentence(fact, text):
    facts = [Fact(fact, ("acme inc employs 5",)), Fact("It is old.")]
    assert objection(fact, facts) is None
    assert objection(text, facts) is None
    assert objection(f"{text} It is old. {fact}", facts) is None
    assert objection(text.replace("5", "6").replace("3", "4").replace("the U", "no U"), facts) is not None
    assert objection(f"{text} It is new.", facts) is not None


def test_marks_of_other_words_end_sentences():
    facts = [Fact("Acme Inc. has 5 employees."), Fact("It is old.")]
    assert objection("It is old. Acme Inc. has 5 employees.", facts) is None
    assert objection("It is. Old.", facts) is not None
    assert objection("It is old Acme Inc. has 5 employees.", facts) is not None
    assert objection("Acme Inc. has 5. Employees.", facts) is not None
