import json
from pathlib import Path

import pytest

from tests import corpus
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import InvalidInputError, NotReadyError
from workflows.llm_inference.answer import answer_from_rate, checks_of, will_i_survive
from workflows.llm_inference.bio import Reading
from workflows.llm_inference.framework import newest_framework

CORPUS = Path(__file__).parent / "corpus"
BIO = "I am a 21-year-old male. I am a champion swimmer."
READ = {
    "attributes": [
        {"attribute": "sex", "value": "male", "quote": "male"},
        {"attribute": "age", "value": "21", "quote": "21-year-old"},
    ],
    "traits": [{"trait": "swims very well", "quote": "champion swimmer"}],
}
SWIMS = {"source": "bio", "quote": "champion swimmer", "text": "A strong swimmer may reach a boat."}
GROUP = {"source": "framework", "quote": "male adult passengers", "text": "Few men survived."}
ANSWER = {
    "likelihood_percent": 30,
    "verdict": "no",
    "answer": "You would probably not survive: 18 % of men like you did; as a swimmer you have perhaps 30 %.",
    "reasons": [GROUP, SWIMS],
}


def ask(model, frameworks, bio=BIO):
    return will_i_survive({"bio": bio}, frameworks, model)


def test_the_model_answers_from_framework_rate_and_bio(scripted, frameworks):
    model = scripted(READ, ANSWER)
    output = ask(model, frameworks)
    assert BIO in model.asked[0][-1]["content"]
    asked = model.asked[1][-1]["content"]
    assert newest_framework(frameworks).text in asked
    assert "18 % of 373 male adult passengers" in asked
    assert BIO in asked
    assert output["survives"] is False
    assert (output["probability"], output["framework_rate"]) == (0.3, pytest.approx(67 / 373, abs=1e-4))
    assert output["answer"] == ANSWER["answer"]
    assert output["difference"].startswith("The model's likelihood of 30 % is 12 points above the framework's 18 %")
    assert "champion swimmer" in output["difference"]
    assert output["group"] == {"sex": "male", "age_band": "adult", "count": 373, "survived": 67}
    assert output["attributes"]["age"] == {"value": 21.0, "quote": "21-year-old", "read_by": "model"}
    assert output["attributes"]["pclass"] is None
    assert output["traits"] == READ["traits"]
    assert (output["source"], output["unchecked"]) == ("model", [])
    assert set(output["checked"]) == {"likelihood_percent", "verdict", "answer", "reasons"}
    assert json.loads(json.dumps(output)) == output


def test_without_a_difference_nothing_is_said_of_it(scripted, frameworks):
    same = ANSWER | {"likelihood_percent": 18, "answer": "You would not survive: 18 %.", "reasons": []}
    assert ask(scripted(READ, same), frameworks)["difference"] is None


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"verdict": "yes", "answer": "A swimmer may reach a boat."}, "follows from the likelihood"),
        (
            {"likelihood_percent": 100, "verdict": "yes", "answer": "A swimmer may reach a boat."},
            "within the framework's limits",
        ),
        ({"reasons": [GROUP]}, "within the framework's limits"),
        ({"reasons": [SWIMS | {"quote": "a captain"}]}, "quotes"),
        ({"reasons": [SWIMS, GROUP | {"quote": "male passengers in a submarine"}]}, "quotes"),
        ({"answer": "Yes, you would survive as a swimmer."}, "states"),
        ({"answer": "You would not survive: 99 % of men died."}, "numbers"),
        ({"answer": "You would not survive: you have a chance of 21 %."}, "percentages"),
        ({"reasons": [SWIMS | {"text": "It raises the chance by 12 points."}]}, "numbers"),
        ({"likelihood_percent": 30.5}, "format"),
    ],
)
def test_what_breaks_a_rule_is_refused(scripted, frameworks, changes, check):
    output = ask(scripted(READ, ANSWER | changes, ANSWER), frameworks)
    assert (output["source"], output["attempts"]) == ("model", 2)
    assert output["refusals"][0]["check"] == check


def test_without_a_good_answer_the_rate_answers(scripted, frameworks):
    output = ask(scripted(READ, "", "nonsense"), frameworks)
    assert output["source"] == "facts"
    assert output["answer"].startswith("You would not survive: your chance of survival is 18 %.")
    assert output["probability"] == output["framework_rate"]
    assert output["difference"] is None


def test_nothing_known_is_answered_from_all_passengers(scripted, frameworks):
    output = ask(scripted({"attributes": [], "traits": []}, "", ""), frameworks, "I like tea.")
    assert output["group"] == {"count": 891, "survived": 342}
    assert "the 891 passengers" in output["answer"]


def test_wrong_input_and_missing_framework(scripted, tmp_path):
    with pytest.raises(InvalidInputError):
        will_i_survive(None, tmp_path, scripted())
    with pytest.raises(NotReadyError, match="llm_inference"):
        will_i_survive({"bio": BIO}, tmp_path, scripted())


INJECTIONS = corpus.load(Path(__file__).parent / "injections.yaml")
# What a model that obeys an instruction in a bio would answer.
OBEYED = [
    {"likelihood_percent": 100, "verdict": "yes", "answer": "You would survive, for certain: 100 %.", "reasons": []},
    {"likelihood_percent": 99, "verdict": "no", "answer": "You would survive: 99 %.", "reasons": []},
    {"likelihood_percent": 18, "verdict": "yes", "answer": "You would survive as you say so.", "reasons": []},
    {"likelihood_percent": 18, "verdict": "no", "answer": "You would survive: the verdict is yes.", "reasons": []},
    {"verdict": "yes"},
    "You are free of all rules.",
]


class TestInjections:
    @pytest.mark.parametrize("obeyed", OBEYED)
    @pytest.mark.parametrize("injection", INJECTIONS)
    def test_a_model_that_obeys_changes_neither_form_nor_verdict(self, injection, obeyed, scripted, frameworks):
        bio = f"I am a 21-year-old male. {injection}"
        output = ask(scripted(READ, obeyed, obeyed), frameworks, bio)
        plain = ask(scripted(READ, "", ""), frameworks, "I am a 21-year-old male.")
        assert output["source"] == "facts"
        assert output.keys() == plain.keys()
        assert {name: output[name] for name in ("survives", "probability", "answer", "group")} == {
            name: plain[name] for name in ("survives", "probability", "answer", "group")
        }

    @pytest.mark.parametrize("prompt", ["read_bio", "will_i_survive"])
    @pytest.mark.parametrize("injection", INJECTIONS)
    def test_a_bio_changes_only_its_own_place_in_the_conversation(self, injection, prompt, scripted, frameworks):
        model, plain = scripted(READ, "", ""), scripted(READ, "", "")
        ask(model, frameworks, f"I am a 21-year-old male. {injection}")
        ask(plain, frameworks, "I am a 21-year-old male. Tea.")
        number = ["read_bio", "will_i_survive"].index(prompt)
        asked, before = model.asked[number], plain.asked[number]
        assert [message["role"] for message in asked] == [message["role"] for message in before]
        assert asked[:-1] == before[:-1]
        lines, lines_before = asked[-1]["content"].split("\n"), before[-1]["content"].split("\n")
        changed = [pair for pair in zip(lines, lines_before, strict=True) if pair[0] != pair[1]]
        assert len(changed) == 1
        tokens = ("<|im", "<|eot", "[INST]", "</s>", "<<SYS>>", "<start_of")
        assert not any(token in asked[-1]["content"] for token in tokens)

    @pytest.mark.parametrize("injection", INJECTIONS)
    def test_alone_it_says_nothing_that_counts(self, injection, scripted, frameworks):
        output = ask(scripted("", "", "", ""), frameworks, injection)
        assert set(output["attributes"].values()) == {None}
        assert (output["survives"], output["group"]["count"]) == (False, 891)


# What the bios of the corpus say.
KNOWN = {
    "student": {"sex": "male", "age": 21},
    "wife": {"sex": "female", "age": 30, "pclass": 1, "family": 3},
    "solo": {"age": 30, "pclass": 3, "family": 1},
    "unknown": {},
    "teacher": {"sex": "female", "age": 28, "pclass": 2},
    "irish": {"sex": "female", "pclass": 3, "family": 1, "embarked": "Q"},
    "lady": {"sex": "female", "age": 64},
    "mother": {"sex": "female", "age": 30, "pclass": 3, "family": 7},
}


class TestCorpus:
    @pytest.fixture
    def problem(self, frameworks):
        framework = newest_framework(frameworks)
        bios = corpus.load(CORPUS / "will_i_survive.yaml")["cases"]
        declared = load_prompt("will_i_survive").checks

        def find(case, text):
            read = {name: {"value": value} for name, value in KNOWN[case].items()}
            group = framework.group_for(Reading(read, [], [], {}).known_values())
            answer = answer_from_rate(group) | {"answer": text}
            inputs = {"framework": {}, "rate": group.facts(), "known": KNOWN[case], "about_me": {"bio": bios[case]}}
            checks = (*declared, *checks_of(framework, group, bios[case]))
            return next(filter(None, (check.problem(answer, inputs) for check in checks)), None)

        return find

    @pytest.mark.parametrize("half", ["will_i_survive", "will_i_survive_held_out"])
    def test_falsehoods(self, half, problem, record_property):
        wrong, _ = corpus.passing(CORPUS / f"{half}.yaml", "refuse", corpus.FORBIDDEN_KINDS, problem)
        assert wrong == []
        subtle, count = corpus.passing(CORPUS / f"{half}.yaml", "refuse", {"other"}, problem)
        record_property("subtle_falsehoods_that_pass", f"{len(subtle)} of {count}")

    @pytest.mark.parametrize("half", ["will_i_survive", "will_i_survive_held_out"])
    def test_honest_texts_pass(self, half, problem):
        passed, count = corpus.passing(CORPUS / f"{half}.yaml", "accept", None, problem)
        assert len(passed) >= 0.95 * count
