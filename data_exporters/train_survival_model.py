from workflows.settings import get_settings
from workflows.survival import workflow

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def train_survival_model(passengers, *args, **kwargs):
    """Keep a new version of the model; the output is its evaluation beside the baselines."""
    return workflow.train_survival_model(passengers, get_settings().models_dir)


@test
def test_model_beats_the_baselines(output, *args):
    best = output.sort_values("brier").groupby("split")["classifier"].first()
    assert (best == "model").all()
