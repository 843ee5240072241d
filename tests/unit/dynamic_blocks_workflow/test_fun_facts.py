import json
from pathlib import Path

import numpy as np
import pytest

from tests import corpus
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import InvalidInputError
from workflows.dynamic_blocks_workflow.fun_facts import MAX_NUMBER, checks_of, fun_fact
from workflows.dynamic_blocks_workflow.number_facts import CLAIMS, facts_of

CORPUS = Path(__file__).parent / "corpus"
GOOD = {"fun_fact": "Lucky 7 is a prime number!", "claims": [{"claim": "prime", "value": ""}]}


def test_the_model_gets_the_item_and_material(scripted):
    model = scripted(GOOD)
    output = fun_fact(7, model)
    asked = model.asked[0][-1]["content"]
    assert "Number: 7" in asked
    assert all(fact in asked for fact in facts_of(7))
    assert {name: output[name] for name in ("number", "fun_fact", "claims", "source")} == {
        "number": 7,
        **GOOD,
        "source": "model",
    }
    assert output["fact"] == "7 is a prime number: it has exactly 2 divisors, 1 and 7."
    assert output["checked"] == {"fun_fact": ["mentions", "numbers", "arithmetic"], "claims": ["arithmetic"]}
    assert json.loads(json.dumps(output)) == output


def test_what_cannot_be_checked_is_the_models_own(scripted):
    own = {"fun_fact": "The number 7 is said to bring luck in many cultures.", "claims": []}
    assert fun_fact(7, scripted(own))["fun_fact"] == own["fun_fact"]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"claims": [{"claim": "square", "value": ""}]}, "arithmetic"),
        ({"claims": [{"claim": "roman", "value": "IIIIIII"}]}, "arithmetic"),
        ({"fun_fact": "7 is a composite number!"}, "arithmetic"),
        ({"fun_fact": "7 is prime, as 1 + 7 = 7!"}, "arithmetic"),
        ({"fun_fact": "7 is a prime number, like 11!"}, "numbers"),
        ({"fun_fact": "It is a prime number!"}, "mentions"),
        ({"fun_fact": "17 is a prime number!"}, "mentions"),
        ({"claims": [{"claim": "lucky", "value": ""}]}, "format"),
    ],
)
def test_a_wrong_statement_is_refused_with_the_reason(scripted, changes, check):
    model = scripted(GOOD | changes, GOOD)
    output = fun_fact(7, model)
    assert (output["source"], output["attempts"]) == ("model", 2)
    assert output["refusals"][0]["check"] == check
    assert output["refusals"][0]["reason"] in model.asked[1][-1]["content"]


def test_without_a_good_answer_the_fact_answers(scripted):
    output = fun_fact(7, scripted("nonsense", ""))
    assert (output["source"], output["fun_fact"], output["claims"]) == ("facts", output["fact"], [])


@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1, 1.5, "7", None, True])
def test_other_input_is_refused(scripted, number):
    with pytest.raises(InvalidInputError, match="number"):
        fun_fact(number, scripted())


def test_numbers_of_numpy_are_fine(scripted):
    assert fun_fact(np.int64(7), scripted(GOOD))["number"] == 7


def test_the_prompt_knows_every_claim():
    schema = load_prompt("generate_fun_fact").output.format["claims"]
    assert schema["items"]["properties"]["claim"]["enum"] == list(CLAIMS)


class TestCorpus:
    @staticmethod
    def problem(number, text):
        inputs = {"item": {"number": number}, "facts": facts_of(number)}
        answer = {"fun_fact": text, "claims": []}
        checks = (*load_prompt("generate_fun_fact").checks, *checks_of(number))
        return next(filter(None, (check.problem(answer, inputs) for check in checks)), None)

    @pytest.mark.parametrize("half", ["fun_facts", "fun_facts_held_out"])
    def test_falsehoods(self, half, record_property):
        wrong, _ = corpus.passing(CORPUS / f"{half}.yaml", "refuse", corpus.FORBIDDEN_KINDS, self.problem)
        assert wrong == []
        subtle, count = corpus.passing(CORPUS / f"{half}.yaml", "refuse", {"other"}, self.problem)
        record_property("subtle_falsehoods_that_pass", f"{len(subtle)} of {count}")

    @pytest.mark.parametrize("half", ["fun_facts", "fun_facts_held_out"])
    def test_honest_texts_pass(self, half):
        passed, count = corpus.passing(CORPUS / f"{half}.yaml", "accept", None, self.problem)
        assert len(passed) >= 0.95 * count
