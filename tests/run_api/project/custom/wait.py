import time

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def wait(*args, **kwargs):
    time.sleep(kwargs.get("seconds", 0))
    return {"waited": kwargs.get("seconds", 0)}
