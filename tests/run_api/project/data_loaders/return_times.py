from datetime import date

import pandas as pd

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_times(*args, **kwargs):
    return {"time": pd.Timestamp("2024-02-29 12:00"), "day": date(2024, 2, 29), "set": {1}}
