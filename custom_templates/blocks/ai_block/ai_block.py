from workflows.ai_blocks.answers import ask

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def transform(*args, **kwargs):
    """AI block: ask the question of a prompt file, here prompts/generate_fun_fact.yaml."""
    answer = ask(
        "generate_fun_fact",
        {"item": {"number": 7}, "facts": ["7 is a prime number.", "7 is written VII in Roman numerals."]},
        # What the block answers where no attempt of the model passes the checks.
        fallback={"fun_fact": "7 is a prime number.", "claims": []},
        pipeline_run_id=kwargs.get("pipeline_run_id"),
    )
    return {**answer.values, **answer.provenance()}
