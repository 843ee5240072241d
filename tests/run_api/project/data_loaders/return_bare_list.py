if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_bare_list(*args, **kwargs):
    return [1, "two", {"three": 3}]
