"""Serve MLflow's UI on the survival model's store: `python -m stack.mlflow_ui PATH_OF_MLFLOW`."""

import os
import sys

from stack.console import Console
from workflows.common.redaction import redact
from workflows.common.settings import get_settings
from workflows.ml_training_and_inference.registry import Registry


def main(arguments: list[str] | None = None) -> int:
    """Serve the UI until it is interrupted; return an exit code."""
    (mlflow,) = sys.argv[1:] if arguments is None else arguments
    console = Console()
    return console.run(lambda: _serve(mlflow, console))


def _serve(mlflow: str, console: Console) -> int:
    settings = get_settings()
    models = Registry(settings.models_dir, settings.mlflow_tracking_uri)
    if models.is_on_server:
        console.say(redact(f"MLFLOW_TRACKING_URI names a server, which has a UI: {models.uri}"))
        return 0
    with console.step("Opening the store"):
        models.ensure_store()
    # Jobs of features that this project does not use take most of the start.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    console.say(f"MLflow's UI: http://127.0.0.1:{settings.mlflow_port} (Ctrl-C stops it)")
    sys.stdout.flush()
    options = {
        "--backend-store-uri": models.uri,
        "--default-artifact-root": models.artifacts_uri,
        "--host": "127.0.0.1",
        "--port": str(settings.mlflow_port),
        "--workers": "1",
    }
    os.execv(mlflow, [mlflow, "server", *(part for option in options.items() for part in option)])


if __name__ == "__main__":
    sys.exit(main())
