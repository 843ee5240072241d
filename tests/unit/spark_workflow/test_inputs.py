import pytest

from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.spark_workflow.facts import check_fun_facts, match_salaries_with_facts
from workflows.spark_workflow.salaries import generate_salaries


@pytest.mark.parametrize("facts", [[], ["one"], ["", "ü 🦊", "ends\n"]])
def test_lists_of_texts_pass(facts):
    assert check_fun_facts({"fun_facts": facts, "other": 1}) == facts


@pytest.mark.parametrize("variables", [{}, {"fun_facts": None}])
def test_missing_facts_are_said(variables):
    with pytest.raises(InvalidInputError, match=r"fun_facts: is missing: .*dynamic_blocks_workflow"):
        check_fun_facts(variables)


@pytest.mark.parametrize(("facts", "kind"), [("a fact", "str"), (3, "int"), ({"a": "b"}, "dict"), (False, "bool")])
def test_what_is_no_list_is_said(facts, kind):
    with pytest.raises(InvalidInputError, match=f"fun_facts: must be a list of texts, and is a {kind}"):
        check_fun_facts({"fun_facts": facts})


@pytest.mark.parametrize("wrong", [None, 3, ["x"], {"fact": "x"}, b"x", "half \ud83e"])
def test_the_wrong_item_is_named(wrong):
    with pytest.raises(InvalidInputError) as raised:
        check_fun_facts({"fun_facts": ["fine", wrong]})
    assert list(raised.value.fields) == ["fun_facts[1]"]
    str(raised.value).encode()


def test_many_wrong_items_make_a_short_message():
    with pytest.raises(InvalidInputError, match="1000 of 1000 facts are not text") as raised:
        check_fun_facts({"fun_facts": list(range(1000))})
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("rows", [None, 0, -1, 1.5, True, "many", "", "1e3", 100_000_001, [5]])
def test_a_wrong_number_of_rows_is_named_before_spark_starts(rows):
    with pytest.raises(InvalidInputError) as raised:
        generate_salaries(rows, 1, None)
    assert list(raised.value.fields) == ["salary_rows"]


@pytest.mark.parametrize("seed", [None, -1, 2**31, 0.5])
def test_a_wrong_seed_is_named_before_spark_starts(seed):
    with pytest.raises(InvalidInputError) as raised:
        generate_salaries(10, seed, None)
    assert list(raised.value.fields) == ["salary_seed"]


@pytest.mark.parametrize(("salaries", "facts"), [([], []), ({"salaries_uri": "x"}, []), (None, {"fun_facts": []})])
def test_a_match_without_its_inputs_names_the_blocks_to_run(salaries, facts):
    with pytest.raises(NotReadyError, match="generate_salaries and load_fun_facts"):
        match_salaries_with_facts(salaries, facts, None)
