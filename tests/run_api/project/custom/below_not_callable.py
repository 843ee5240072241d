from pathlib import Path

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def below_not_callable(*args, **kwargs):
    Path(kwargs["mark"]).write_text("below_not_callable")
    return 1
