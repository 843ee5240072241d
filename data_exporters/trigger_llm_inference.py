from workflows.common.chain import start_next

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def trigger_llm_inference(*args, **kwargs):
    """Start `llm_inference` after the data product that both pipelines read is up to date."""
    return start_next("llm_inference", kwargs)
