from pathlib import Path

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def not_callable(*args, **kwargs):
    Path(kwargs["mark"]).write_text("not_callable")
    return 1
