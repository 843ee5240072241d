if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_long_list(*args, **kwargs):
    return [list(range(12))]
