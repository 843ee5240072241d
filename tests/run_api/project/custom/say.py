if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def say(*args, **kwargs):
    return {"version": 1, "said": kwargs.get("word")}
