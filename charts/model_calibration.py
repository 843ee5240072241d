"""Share of survivors by predicted probability, in percent: of a calibrated model, the two lines are one.

Mage sets `df_1`, the output of the block that the chart is of.
"""

from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.documentation import calibration

settings = get_settings()
number = str(df_1["model_version"].iloc[0])
bins = 100 * calibration(number, settings.models_dir, settings.mlflow_tracking_uri).round(3)
x, y = bins["predicted"], [bins["survived"], bins["predicted"]]
