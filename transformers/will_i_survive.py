from workflows.llm_inference import answer

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def will_i_survive(*args, **kwargs):
    """AI block: answer from the newest framework and `about_me`, in the pipeline and over /api/runs."""
    return answer.will_i_survive(kwargs.get("about_me"), pipeline_run_id=kwargs.get("pipeline_run_id"))
