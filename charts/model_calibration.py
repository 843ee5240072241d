"""Share of survivors by predicted probability, in percent: of a calibrated model, the two lines are one.

Mage sets `df_1`, the output of the block that the chart is of.
"""

from workflows.common.settings import get_settings
from workflows.survival.train_and_promote import calibration

bins = 100 * calibration(get_settings().models_dir, df_1[0]["model_version"].iloc[0]).round(3)
x, y = bins["predicted"], [bins["survived"], bins["predicted"]]
