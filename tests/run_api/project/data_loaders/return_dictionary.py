if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_dictionary(*args, **kwargs):
    return {"text": "é", "nested": {"list": [1, None, 2.5]}, "tuple": (1, 2)}
