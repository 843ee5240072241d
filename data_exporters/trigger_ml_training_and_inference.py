from workflows.common.chain import start_next

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def trigger_ml_training_and_inference(*args, **kwargs):
    """Start `ml_training_and_inference`, which reads the data product that this pipeline updates."""
    return start_next("ml_training_and_inference", kwargs)
