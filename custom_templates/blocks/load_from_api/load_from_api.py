import pandas as pd
from pydantic import BaseModel, TypeAdapter, ValidationError

from workflows.common.errors import InvalidInputError
from workflows.common.http import download

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


class Record(BaseModel):
    """What each record has to hold; other fields are ignored."""

    id: int
    name: str


@data_loader
def load_data(*args, **kwargs):
    """Fetch a JSON list from the pipeline variable api_url, and refuse it if a record does not fit."""
    options = {"timeout_seconds": 10, "deadline_seconds": 60, "retries": 3, "max_bytes": 50_000_000}
    content = download(kwargs.get("api_url", ""), source="The API", setting="the variable api_url", **options)
    try:
        records = TypeAdapter(list[Record]).validate_json(content)
    except ValidationError as error:
        wrong = {".".join(map(str, one["loc"])): one["msg"] for one in error.errors()[:10]}
        raise InvalidInputError(f"{error.error_count()} values of the API do not fit", wrong) from None
    return pd.DataFrame([record.model_dump() for record in records])
