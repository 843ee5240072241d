import numpy as np

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_numpy_types(*args, **kwargs):
    return {"int": np.int64(7), "float": np.float32(0.5), "array": np.arange(3), "bool": np.bool_(True)}
