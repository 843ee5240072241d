from workflows.advice.framework import build_framework

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def build_decision_framework(users, *args, **kwargs):
    """AI block: survival rates by group, summed up and kept as the newest version of the framework."""
    return build_framework(users, run=kwargs.get("pipeline_run_id"))
