from workflows.common.chain import start_next

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def export_data(*args, **kwargs):
    """Start another pipeline, once per run; it needs an API trigger called_from_code in its triggers.yaml."""
    return start_next("spark_workflow", kwargs, {"fun_facts": ["7 is a prime number."]})
