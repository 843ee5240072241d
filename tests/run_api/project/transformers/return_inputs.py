if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def return_inputs(data, *args, **kwargs):
    return {"data": data, "further": list(args), "df_1": globals()["df_1"], "asked": kwargs.get("asked")}
