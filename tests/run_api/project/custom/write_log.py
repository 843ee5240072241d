import logging

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def write_log(*args, **kwargs):
    print("printed", kwargs.get("word"))  # noqa: T201
    kwargs["logger"].info(f"logged {kwargs.get('word')}")
    logging.getLogger("workflows.example").info("by a library: %s", kwargs.get("word"))
    return {"word": kwargs.get("word")}
