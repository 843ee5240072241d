import pandas as pd

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_several(*args, **kwargs):
    return {"a": 1}, pd.DataFrame({"b": [2]}), "c"
