if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def spread(*args, **kwargs):
    return [["a", "b"], [{"block_uuid": "a"}, {"block_uuid": "b"}]]
