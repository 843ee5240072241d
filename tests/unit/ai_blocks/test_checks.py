import pytest

from workflows.ai_blocks.checks import DECLARED, CodeCheck, select, stands_in


def states(**more):
    return {"field": "a", "inputs": ["outcome"], "patterns": PATTERNS, **more}


def members(*keys):
    return {"field": "a[]", "inputs": ["changes[]"], "keys": list(keys)}


INPUTS = {
    "outcome": "died",
    "age": 21,
    "bio": {"text": "Je suis “capitaine”  d'un\nnavire."},
    "weights": {"sex": -1.5, "class": 0.4},
    "changes": [{"name": "age", "to": 12}, {"name": "class", "to": "first"}],
}
SIGNS = {"field": "a[]", "inputs": ["weights"], "key": "name", "effect": "did", "positive": "rose", "negative": "fell"}
PATTERNS = {"died": ["\\bdied\\b"], "survived": ["\\bsurvived\\b"]}


@pytest.mark.parametrize(
    ("check", "options", "answer", "problem"),
    [
        ("equals", {"field": "a", "inputs": ["outcome"]}, {"a": "died"}, None),
        ("equals", {"field": "a", "inputs": ["outcome"]}, {"a": "lived"}, "a has to be 'died'"),
        ("numbers", {"field": "a", "inputs": ["age"]}, {"a": "21 years"}, None),
        ("numbers", {"field": "a", "inputs": ["age"]}, {"a": "22 years"}, "a names the number 22"),
        ("numbers", {"field": "a", "inputs": ["age"], "also": ["b"]}, {"a": "22 years", "b": 22}, None),
        ("numbers", {"field": "a[].t", "inputs": ["age"]}, {"a": [{"t": "21"}, {"t": "five"}]}, "the number five"),
        ("quotes", {"field": "a", "inputs": ["bio.text"]}, {"a": 'suis "CAPITAINE" d’un navire'}, None),
        ("quotes", {"field": "a", "inputs": ["bio.text"]}, {"a": "capitaine de navire"}, "is not a quote"),
        ("quotes", {"field": "a", "inputs": ["bio.text"]}, {"a": "pitaine"}, "is not a quote"),
        ("quotes", {"field": "a", "inputs": ["bio.text"]}, {"a": " "}, "is not a quote"),
        ("mentions", {"field": "a", "inputs": ["age"]}, {"a": "You are 21."}, None),
        ("mentions", {"field": "a", "inputs": ["age"]}, {"a": "You are 121."}, "has to name 21"),
        ("avoids", {"field": "a", "patterns": ["secret", "\\bARR+\\b"]}, {"a": "charred"}, None),
        ("avoids", {"field": "a", "patterns": ["secret", "\\bARR+\\b"]}, {"a": "Arrr!"}, "must not say 'Arrr'"),
        ("states", states(), {"a": "He died."}, None),
        ("states", states(), {"a": "He survived."}, "but it is 'died'"),
        ("states", states(), {"a": "Who knows?"}, "does not say"),
        (
            "states",
            states(required=False),
            {"a": "Who knows?"},
            None,
        ),
        (
            "states",
            states(unless="\\bif\\b"),
            {"a": "He died. If he were rich he had survived."},
            None,
        ),
        ("signs", SIGNS, {"a": [{"name": "sex", "did": "fell"}]}, None),
        ("signs", SIGNS, {"a": [{"name": "sex", "did": "rose"}]}, "wrong effect of sex"),
        ("signs", SIGNS, {"a": [{"name": "luck", "did": "rose"}]}, "none of sex, class"),
        ("members", members("name", "to"), {"a": [{"name": "age", "to": 12}]}, None),
        ("members", members("to"), {"a": [{"to": " FIRST "}]}, None),
        ("members", members("to"), {"a": [{"to": 13}]}, "which is unknown"),
        ("members", members("to"), {"a": []}, None),
    ],
)  # fmt: skip
def test_declared_checks(check, options, answer, problem):
    found = DECLARED[check].model_validate(options).problem(answer, INPUTS)
    assert found is None if problem is None else problem in found


def test_the_checked_field_is_the_first_name_of_the_path():
    assert DECLARED["quotes"].model_validate({"field": "a[].quote", "inputs": ["bio"]}).checked_field == "a"


def test_code_check():
    check = CodeCheck("is even", "a", lambda answer: "is odd" if answer["a"] % 2 else None)
    assert (check.problem({"a": 2}, {}), check.problem({"a": 3}, {})) == (None, "is odd")


@pytest.mark.parametrize(
    ("path", "values"),
    [("outcome", ["died"]), ("changes[].to", [12, "first"]), ("bio.text.more", []), ("no", []), ("age[]", [])],
)
def test_select(path, values):
    assert select(INPUTS, path) == values


def test_thousands_separators_do_not_count():
    assert stands_in("1000", "It is 1,000!")
