if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def return_arguments(*args, **kwargs):
    return {name: str(value) for name, value in sorted(kwargs.items()) if name not in ("logger", "repo_path")}
