from workflows.llm_inference.framework import build_framework

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def build_decision_framework(users, *args, **kwargs):
    """AI block: survival rates by group, and a guide to them in words, kept as the newest version."""
    return build_framework(users, pipeline_run_id=kwargs.get("pipeline_run_id"))
