"""The evaluation of the AI blocks: its cases, its scores, and its command."""

import json

import pytest

from evals.__main__ import LOCAL, main, settings_of
from evals.cases import (
    ADVICE,
    EXPLANATION,
    FRAMEWORK,
    FUN_FACT,
    HALVES,
    PROMPTS,
    READING,
    Case,
    all_cases,
    count_attributes,
    count_changes,
    load_half,
)
from evals.evaluation import MAX_FAILURES, evaluate, score
from tests.provider import Provider, answer, failure
from workflows.ai_blocks.answers import ask
from workflows.ai_blocks.completions import Completion
from workflows.ai_blocks.prompts import Prompt
from workflows.common.errors import ServiceError
from workflows.common.settings import get_settings
from workflows.llm_inference.bio import ATTRIBUTES, check_about_me
from workflows.local_llm.model import local_model_path
from workflows.ml_training_and_inference.artifact import Version
from workflows.passengers.contract import parse_attributes

SIZES = {FRAMEWORK: 1, FUN_FACT: 10, EXPLANATION: 20, READING: 20, ADVICE: 20}
PROMPT = Prompt(
    name="animals",
    version="1",
    system="Keep to the facts.",
    inputs=["fact"],
    prompt="{{ fact }}",
    output={"format": {"text": {"type": "string"}}},
    checks=[{"mentions": {"field": "text", "inputs": ["fact"]}}, {"avoids": {"field": "text", "patterns": ["secret"]}}],
    fallback={"text": "{{ fact }}"},
    max_attempts=3,
    model={"max_tokens": 20, "temperature": 0.0},
)
HONEST, LIE = '{"text": "Cats purr."}', '{"text": "Cats bark."}'
FORBIDDEN, NO_JSON = '{"text": "Cats purr. secret"}', "Cats."


class Model:
    """Writes the texts in turn, the last one for ever; None fails."""

    identity = "scripted"
    max_attempts = None

    def __init__(self, *texts):
        self.texts = list(texts)
        self.calls = 0

    def complete(self, messages, schema, max_tokens, temperature):
        text = self.texts[min(self.calls, len(self.texts) - 1)]
        self.calls += 1
        if text is None:
            raise ServiceError(f"failure {self.calls}")
        return Completion(text=text, model="scripted", input_tokens=10, output_tokens=self.calls, seconds=self.calls)


def case(question=0, half="seen", count_right=None):
    def ask_model(model):
        return ask(PROMPT, {"fact": "Cats purr."}, model=model).provenance()

    return Case(FUN_FACT, half, question, ask_model, count_right)


def outcomes_of(*scripts, count_right=None):
    return [one for texts in scripts for one in evaluate([case(count_right=count_right)], Model(*texts), 1)]


@pytest.fixture(scope="module")
def version(pipeline):
    return Version("evaluation", "", pipeline)


@pytest.fixture
def provider(monkeypatch):
    servers = []

    def start(*script):
        servers.append(Provider(*script))
        monkeypatch.setenv("OPENAI_BASE_URL", servers[-1].url)
        monkeypatch.setenv("LLM_MODEL", "small")
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def smallest(schema):
    """Return the smallest value that fits a schema of the prompts."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: smallest(part) for name, part in schema["properties"].items()}
        case "array":
            return [smallest(schema["items"])] * schema.get("minItems", 0)
        case "integer":
            return 0
    return "x" * schema.get("minLength", 0)


def valid_answer(request):
    """Answer with JSON that fits the schema and says nothing."""
    if request["model"] == "absent":
        return failure(404, "The model `absent` does not exist", "model_not_found")
    return answer(json.dumps(smallest(request["response_format"]["json_schema"]["schema"])))


def one_of_each(half):
    whole = load_half(half)
    return whole.model_copy(
        update={
            "numbers": whole.numbers[:1],
            "passengers": whole.passengers.model_copy(update={"known": whole.passengers.known[:1], "invented": []}),
            "bios": whole.bios[:1],
        }
    )


def rows_of(output, prompt):
    """Return the rows of a prompt's table as dictionaries."""
    lines = output.partition(f"\n{prompt}\n")[2].splitlines()
    table = [line for line in lines[: lines.index("") if "" in lines else None] if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_halves_have_their_sizes_and_share_nothing(titanic, version, tmp_path):
    cases = all_cases(titanic, version, tmp_path)
    assert [one.prompt for one in cases] == [prompt for prompt in PROMPTS for _ in range(2 * SIZES[prompt])]
    for prompt, size in SIZES.items():
        asked = {
            half: [json.dumps(c.question, default=str) for c in cases if (c.prompt, c.half) == (prompt, half)]
            for half in HALVES
        }
        assert {half: len(set(texts)) for half, texts in asked.items()} == dict.fromkeys(HALVES, size)
        assert not set(asked["seen"]) & set(asked["held_out"])


def test_passengers_are_varied_and_no_ticket_is_in_both_halves(titanic):
    by_id = titanic.set_index("passenger_id")
    halves = [load_half(half).passengers for half in HALVES]
    seen, held_out = (by_id.loc[half.known] for half in halves)
    assert not set(seen["ticket"]) & set(held_out["ticket"])
    for half in (seen, held_out):
        assert len(half.groupby(["pclass", "sex"])) == 6
        assert half["age"].isna().any()
        assert half["cabin"].isna().any()
        assert half["age"].min() < 13
    for half in halves:
        for invented in half.invented:
            assert parse_attributes(invented).items() >= invented.items()
            assert by_id["ticket"].ne(invented.get("ticket")).all()


def test_bios_can_be_read_and_their_labels_keep_the_contract():
    for half in HALVES:
        for one in load_half(half).bios:
            assert check_about_me({"bio": one.bio})
            assert set(one.expected) <= set(ATTRIBUTES)
            known = {name: value for name, value in one.expected.items() if name != "family"}
            assert parse_attributes(known).items() >= known.items()


def test_honest_model():
    scored = score(outcomes_of([HONEST]))
    assert (scored.asked, scored.answered, scored.valid, scored.accepted, scored.from_model) == (1, 1, 1, 1, 1)
    assert (scored.attempts, scored.input_tokens, scored.output_tokens, scored.median_seconds) == (1, 10, 1, 1)


def test_liar_is_valid_but_not_accepted():
    scored = score(outcomes_of([LIE]))
    assert (scored.asked, scored.answered, scored.valid, scored.accepted, scored.from_model) == (1, 1, 1, 0, 0)
    assert (scored.attempts, scored.input_tokens, scored.output_tokens, scored.median_seconds) == (3, 30, 6, 6)


def test_a_broken_rule_is_not_accepted():
    scored = score(outcomes_of([FORBIDDEN, HONEST]))
    assert (scored.valid, scored.accepted, scored.from_model) == (1, 0, 1)


def test_refusals_are_counted_by_check():
    scored = score(outcomes_of([NO_JSON, LIE, HONEST], [FORBIDDEN, HONEST], [LIE]))
    assert scored.refused_by == {"format": 1, "mentions": 4, "avoids": 1}


def test_bad_json_is_judged_by_the_first_attempt_alone():
    scored = score(outcomes_of([NO_JSON, HONEST]))
    assert (scored.valid, scored.accepted, scored.from_model, scored.attempts) == (0, 0, 1, 2)


def test_several_answers_together():
    scored = score(outcomes_of([HONEST], [HONEST], [LIE, HONEST], [NO_JSON, LIE, HONEST], [NO_JSON]))
    assert (scored.asked, scored.valid, scored.accepted, scored.from_model) == (5, 3, 2, 4)
    assert scored.attempts == pytest.approx((1 + 1 + 2 + 3 + 3) / 5)
    # Seconds of the answers: 1, 1, 3, 6, 6.
    assert scored.median_seconds == 3
    assert scored.p95_seconds == pytest.approx(6)


def test_what_is_right_counts_only_where_it_can_be_said():
    outcomes = outcomes_of([HONEST], [LIE], count_right=lambda output: (int(output["source"] == "model"), 1))
    assert score(outcomes + outcomes_of([HONEST])).right == (1, 2)


def test_attributes_are_right_where_they_are_read_or_left_out_as_expected():
    output = {"attributes": {"sex": {"value": "male"}, "age": {"value": 30.0}, "pclass": {"value": 2}}}
    assert count_attributes({"sex": "male", "age": 31, "embarked": "S"}, output) == (2, 5)


def test_an_explanation_is_right_with_a_change_that_is_enough():
    enough = {"changes": [{"text": "being female"}]}
    named, other = [{"change": "being female"}], [{"change": "being rich"}]
    assert count_changes({"counterfactuals": {"single": [enough]}, "changes": named}) == (1, 1)
    assert count_changes({"counterfactuals": {"single": [enough]}, "changes": other}) == (0, 1)
    assert count_changes({"counterfactuals": {"single": []}, "changes": other}) == (0, 0)


def test_outcomes_are_in_order_and_hold_what_was_written():
    outcomes = list(evaluate([case(number) for number in range(9)], Model(LIE, HONEST), 3))
    assert [outcome.case.question for outcome in outcomes] == list(range(9))
    assert outcomes[0].texts == (LIE, HONEST)
    assert outcomes[0].to_dict()["output"]["refusals"][0]["check"] == "mentions"


def test_failure_at_the_first_question_ends_all():
    model = Model(None)
    with pytest.raises(ServiceError, match="failure 1"):
        list(evaluate([case(), case()], model, 1))
    assert model.calls == 1


def test_a_failure_is_counted_and_the_rest_is_asked():
    outcomes = list(evaluate([case(), case(), case()], Model(HONEST, None, HONEST), 1))
    assert [outcome.error for outcome in outcomes] == [None, "failure 2", None]
    scored = score(outcomes)
    assert (scored.asked, scored.answered, scored.valid, scored.attempts) == (3, 2, 2, 1)


def test_model_that_always_fails_is_given_up():
    model = Model(HONEST, None)
    outcomes = list(evaluate([case() for _ in range(20)], model, 1))
    assert model.calls == len(outcomes) == 1 + MAX_FAILURES


def test_command_compares_models_and_goes_on_after_one_that_is_missing(provider, capsys, tmp_path, monkeypatch):
    server = provider(valid_answer)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("evals.cases.load_half", one_of_each)
    saved = tmp_path / "answers.json"
    assert main(["--compare", "absent", "small", "--output", str(saved)]) == 1
    output = capsys.readouterr().out
    for prompt in PROMPTS:
        rows = rows_of(output, prompt)
        assert [row["model"] for row in rows] == ["absent"] * 2 + ["small"] * 2
        assert [row["half"] for row in rows] == list(HALVES) * 2
        for row in rows[:2]:
            assert "404" in row["asked"]
            assert "the server offers: big, small" in row["asked"]
        for row in rows[2:]:
            assert (row["asked"], row["schema-valid"]) == ("1", "1 of 1")
    reading = rows_of(output, READING)[2]
    assert (reading["accepted"], reading["model / facts"], reading["attempts"]) == ("1 of 1", "1 / 0", "1.0")
    assert (reading["tokens in"], reading["tokens out"], reading["right"]) == ("5", "2", "5 of 5")
    assert rows_of(output, EXPLANATION)[2]["refused by"]
    assert [request["model"] for request in server.requests].count("absent") == 1
    absent, small = json.loads(saved.read_text())
    assert "404" in absent["error"]
    assert not absent["answers"]
    assert len(small["answers"]) == 2 * len(PROMPTS)


def test_command_asks_the_configured_model_and_names_refusals(provider, capsys, tmp_path, monkeypatch):
    provider(answer("{}"))
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setattr("evals.cases.load_half", one_of_each)
    assert main(["--verbose"]) == 0
    output = capsys.readouterr().out
    rows = [row for prompt in PROMPTS for row in rows_of(output, prompt)]
    assert [row["model"] for row in rows] == ["small"] * 2 * len(PROMPTS)
    assert {row["schema-valid"] for row in rows} == {"0 of 1"}
    refusals = [line for line in output.splitlines() if ": format: " in line]
    assert len(refusals) == 2 * len(PROMPTS)
    # Neither cached nor counted.
    assert not list(tmp_path.glob("llm/answers/*"))
    assert not list(tmp_path.glob("llm/usage/*"))


def test_command_says_that_a_server_cannot_be_reached(provider, capsys, tmp_path, monkeypatch):
    provider(failure(401, "no"))
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert main([]) == 1
    rows = rows_of(capsys.readouterr().out, FRAMEWORK)
    assert all("check OPENAI_API_KEY" in row["asked"] for row in rows)


@pytest.mark.parametrize("model", [LOCAL, "other.gguf"])
def test_local_models_have_a_server_of_their_own(model, provider, tmp_path, monkeypatch):
    provider(answer())
    monkeypatch.chdir(tmp_path)
    before = get_settings()
    stopped = []
    monkeypatch.setattr("evals.__main__.stop_services", lambda: stopped.append(get_settings().state_dir))
    with settings_of(model) as settings:
        assert settings.uses_local_llm
        assert settings.state_dir == get_settings().state_dir != before.state_dir
        expected = tmp_path / model if model != LOCAL else local_model_path(before)
        assert settings.local_model_path == get_settings().local_model_path == expected
    assert stopped == [settings.state_dir]
    assert get_settings() == before


def test_local_means_the_bundled_model_whatever_is_configured(tmp_path, monkeypatch):
    bundled = local_model_path(get_settings())
    monkeypatch.setenv("LOCAL_MODEL_PATH", str(tmp_path / "mine.gguf"))
    with settings_of(LOCAL) as settings:
        assert local_model_path(settings) == bundled


def test_missing_file_gives_a_row(capsys, tmp_path):
    assert main(["--compare", str(tmp_path / "none.gguf")]) == 1
    assert "names no file" in rows_of(capsys.readouterr().out, FRAMEWORK)[0]["asked"]
