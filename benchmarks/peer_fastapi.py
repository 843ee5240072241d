"""A minimal FastAPI application that serves the survival model.

Run as `uvicorn benchmarks.peer_fastapi:app`.
"""

from fastapi import FastAPI
from pydantic import BaseModel, Field

from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.inference import predict_passenger

app = FastAPI()
MODELS_DIR = get_settings().models_dir


class Passenger(BaseModel):
    """The ten attributes of a passenger, as text."""

    pclass: str | None = None
    name: str | None = Field(default=None, alias="_name")
    sex: str | None = None
    age: str | None = None
    sibsp: str | None = None
    parch: str | None = None
    ticket: str | None = None
    fare: str | None = None
    cabin: str | None = None
    embarked: str | None = None


@app.post("/predict")
def predict(passenger: Passenger) -> dict:
    return predict_passenger(passenger.model_dump(by_alias=True), MODELS_DIR)
