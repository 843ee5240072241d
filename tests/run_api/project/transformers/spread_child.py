if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def spread_child(data, *args, **kwargs):
    return {"data": str(data)}
