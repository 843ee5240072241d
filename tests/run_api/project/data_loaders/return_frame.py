import numpy as np
import pandas as pd

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_frame(*args, **kwargs):
    return pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan], "c": ["x", None], 4: [True, False]})
