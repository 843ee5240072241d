from workflows.spark_workflow.facts import check_fun_facts

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def load_fun_facts(*args, **kwargs):
    """Take the runtime variable `fun_facts`, a list of texts, or refuse it."""
    return {"fun_facts": check_fun_facts(kwargs)}
