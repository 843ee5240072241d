"""The one module that reads the environment.

Every variable has a default that works on one machine. Values come from the process environment, then from
`.env` in the repository, then from the file that `NAME_FILE` names, then from the defaults below. An empty value counts
as not set. `.env.example` lists them all.
"""

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from workflows.common import redaction
from workflows.common.errors import WorkflowError

REPO_PATH = Path(__file__).resolve().parents[2]
ENV_FILE = Path(os.environ.get("ENV_FILE", REPO_PATH / ".env"))
# Secrets that only Mage or MLflow reads.
OTHER_SECRETS = (
    "DEFAULT_OWNER_PASSWORD",
    "JWT_SECRET",
    "MAGE_SLACK_WEBHOOK_URL",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)


def read_named_files(names: Iterable[str]) -> dict[str, str]:
    """Return the variables whose value is in the file that `NAME_FILE` names, as Docker and Kubernetes mount secrets.

    Raises:
        WorkflowError: such a file cannot be read.
    """
    variables = {**dotenv_values(ENV_FILE), **os.environ}
    values = {}
    for name in names:
        if path := variables.get(f"{name}_FILE"):
            try:
                # PowerShell writes a byte order mark, which no header of a request can hold.
                values[name] = Path(path).read_text(encoding="utf-8-sig").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise WorkflowError(f"{name}_FILE: {path} cannot be read ({type(error).__name__})") from None
    return values


class _NamedFiles(EnvSettingsSource):
    """The values of `read_named_files`, parsed like variables."""

    def _load_env_vars(self) -> dict[str, str | None]:
        names = map(str.upper, self.settings_cls.model_fields)
        return {name.lower(): value for name, value in read_named_files(names).items() if value}


class Settings(BaseSettings):
    """All settings, typed. Units are part of the names."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    state_dir: Path = Field(default=REPO_PATH / ".state", description="Folder that holds all state.")
    listen_address: str = Field(default="127.0.0.1", description="Address on which Mage's server listens.")
    allowed_hosts: str | None = Field(
        default=None,
        description="Further host names of Mage's server, separated by commas, as behind a proxy; if it listens beyond "
        "loopback, all are allowed by default.",
    )
    port: int = Field(default=6789, ge=1, le=65535, description="Port of Mage's server.")
    owner_email: str = Field(default="owner@localhost.localdomain", description="Email address of the UI's owner.")
    scheduler_trigger_interval: float = Field(
        default=2,
        gt=0,
        description="Seconds between two looks of the scheduler at the schedules; ends of blocks and new runs wake it.",
    )
    scheduler_stale_seconds: float = Field(
        default=45, gt=0, description="Seconds without a tick after which the scheduler is ended and started again."
    )
    mage_database_connection_url: SecretStr | None = Field(
        default=None, description="URL of Mage's database; by default SQLite in the state folder."
    )
    duckdb_database: str | None = Field(
        default=None, description="DuckDB file; by default warehouse.duckdb in the state folder."
    )

    companies_api_url: str | None = Field(
        default=None, description="URL of the companies; by default a local API with the bundled sample."
    )
    companies_api_headers: dict[str, SecretStr] | None = Field(
        default=None,
        description='JSON object of headers, such as {"Authorization": "Bearer KEY"}; only its host gets them.',
    )
    companies_api_records: str | None = Field(
        default=None,
        description="Path of the list in an answer, such as results.items; by default the only list of objects.",
    )
    companies_api_pagination: dict[str, Any] | None = Field(
        default=None,
        description="JSON object that says how to get to the next page, where the answers do not; "
        "see pipelines/ingestion/README.md.",
    )
    companies_api_fields: dict[str, str] | None = Field(
        default=None, description='JSON object of fields that are called otherwise: {"employeeCount": "headcount"}.'
    )
    companies_max_rejected_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of companies that may be rejected before the run fails."
    )
    companies_api_timeout_seconds: float = Field(
        default=10,
        gt=0,
        description="Timeout of a connection to the companies API, and between two pieces of an answer.",
    )
    companies_api_deadline_seconds: float = Field(
        default=300, gt=0, description="Time limit for loading the companies, retries and waits included."
    )
    companies_api_retries: int = Field(
        default=4, ge=0, description="Retries after a failed request to the companies API."
    )

    passengers_csv: str | None = Field(
        default=None, description="CSV of the passengers, a path or a URL; by default data/titanic.csv."
    )

    mlflow_tracking_uri: str | None = Field(
        default=None,
        description="MLflow's server, such as http://host:5000; by default SQLite in the state folder.",
    )
    mlflow_port: int = Field(default=5000, ge=1, le=65535, description="Port of MLflow's UI, as make mlflow serves it.")

    openai_api_key: SecretStr | None = Field(
        default=None, description="API key of the language model's server; has no effect without one of the next two."
    )
    openai_base_url: str | None = Field(default=None, description="URL of any server with the OpenAI protocol.")
    llm_model: str | None = Field(
        default=None, description="Name of the language model at that server, by default OpenAI's."
    )
    openai_api_version: str | None = Field(default=None, description="Azure OpenAI API version, such as 2024-10-21.")
    llm_timeout_seconds: float = Field(default=60, gt=0, description="Time limit of one request to the language model.")
    llm_budget_seconds: float = Field(default=180, gt=0, description="Time limit of one request with its retries.")
    llm_wait_seconds: float = Field(
        default=1800, gt=0, description="Longest wait of one request for the limits below, or for a busy provider."
    )
    llm_max_attempts: int | None = Field(
        default=None,
        ge=1,
        description="Attempts for an answer that passes the checks; by default as the prompt file says, and 1 for the "
        "bundled model.",
    )
    llm_context_tokens: int | None = Field(
        default=None,
        ge=256,
        description="Context size in tokens of servers that cut longer prompts silently, as Ollama.",
    )
    llm_extra_parameters: dict[str, Any] | None = Field(
        default=None, description="JSON object that is added to every request to the language model."
    )
    llm_price_per_million_input_tokens: float | None = Field(
        default=None, ge=0, description="Price of a million tokens read, in any currency."
    )
    llm_price_per_million_output_tokens: float | None = Field(
        default=None, ge=0, description="Price of a million tokens written."
    )
    local_model_path: Path | None = Field(
        default=None, description="GGUF file of the local language model; by default the bundled one."
    )

    max_llm_calls_at_once: int = Field(
        default=2, ge=1, description="Calls of the language model at the same time, of all processes together."
    )
    max_llm_calls_per_minute: int | None = Field(
        default=None, ge=1, description="Calls of the language model per minute, of all processes together."
    )

    llm_cache: bool = Field(default=True, description="Whether answers of the language model are cached.")
    llm_cache_max_bytes: int = Field(
        default=50_000_000,
        ge=1,
        description="Size of that cache in bytes; the least recently used answers are removed.",
    )

    master: str | None = Field(
        default=None,
        description="Spark master of the local Spark server, such as spark://host:7077; by default itself.",
    )
    spark_remote: str | None = Field(
        default=None, description="URL of a Spark Connect server, such as sc://host:15002; by default a local one."
    )
    spark_conf_dir: Path | None = Field(
        default=None, description="Folder of spark-defaults.conf of the local Spark server."
    )
    spark_home: Path | None = Field(default=None, description="Spark installation; by default the Python package.")
    spark_data_uri: str | None = Field(
        default=None, description="Storage of Spark's data; for a cluster, storage that all of its machines share."
    )
    spark_timeout_seconds: float = Field(default=900, gt=0, description="Time limit of one block's work in Spark.")
    spark_keep_datasets: int = Field(
        default=20, ge=2, description="Number of data sets that Spark keeps in the state folder; each run writes two."
    )
    java_home: Path | None = Field(
        default=None, description="Java of the local Spark server; by default the bundled one."
    )

    run_api_workers: int = Field(default=16, ge=1, le=256, description="Calls of /api/runs at the same time.")
    run_api_queue: int = Field(default=64, ge=0, description="Calls that may wait; further ones get status 429.")
    run_api_timeout_seconds: float = Field(default=300, gt=0, description="Time limit of one call, waiting included.")
    run_api_max_body_bytes: int = Field(
        default=1_048_576, ge=1024, le=104_857_600, description="Largest body of a call in bytes."
    )
    run_api_body_timeout_seconds: float = Field(default=30, gt=0, description="Time limit for receiving a body.")
    run_retention_days: float = Field(
        default=30, gt=0, description="Days for which ended runs, their logs and outputs are kept."
    )
    log_max_bytes: int = Field(
        default=20_000_000, ge=1000, description="Size in bytes at which a log of a service is rotated; one is kept."
    )
    run_api_retention_days: float = Field(default=30, gt=0, description="Days for which recorded calls are kept.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where the values come from, first found first."""
        return init_settings, env_settings, dotenv_settings, _NamedFiles(settings_cls), file_secret_settings

    def model_post_init(self, _context: Any) -> None:
        """Have the secrets removed from what this process logs, raises and stores."""
        redaction.mark(_secrets(dict(self)))
        redaction.mark(filter(None, map(os.environ.get, OTHER_SECRETS)))

    @property
    def data_dir(self) -> Path:
        """Folder of the bundled inputs."""
        return REPO_PATH / "data"

    @property
    def passengers_source(self) -> str:
        """Path or URL of the passengers."""
        return self.passengers_csv or str(self.data_dir / "titanic.csv")

    @property
    def models_dir(self) -> Path:
        """Folder of the survival model: the champion and, by default, MLflow's store."""
        return self.state_dir / "models"

    @property
    def frameworks_dir(self) -> Path:
        """Folder of the decision framework's versions."""
        return self.state_dir / "frameworks"

    @property
    def llm_dir(self) -> Path:
        """Folder of the language model's cache, usage and shared limits."""
        return self.state_dir / "llm"

    @property
    def uses_local_llm(self) -> bool:
        """Whether the bundled model answers: neither a server nor a model is named. A key alone changes nothing."""
        return self.openai_base_url is None and self.llm_model is None


def get_settings() -> Settings:
    """Return the current settings; the environment and `.env` are read again only after a change.

    Raises:
        pydantic.ValidationError: names the variable that is wrong, without its value.
        WorkflowError: the file that a variable names cannot be read.
    """
    try:
        stat = ENV_FILE.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError:
        stamp = None
    # Of the environment few variables are ours, and of ours few are in the environment.
    return _read(stamp, tuple((name, os.environ.get(name)) for name in os.environ if name in _VARIABLES))


@lru_cache(maxsize=4)
def _read(_file: object, _variables: object) -> Settings:
    settings = Settings()
    return settings.model_copy(update={"state_dir": settings.state_dir.expanduser().resolve()})


def _secrets(value: Any) -> Iterator[str]:
    """Yield what is marked as secret, as a whole and by its words (`Bearer KEY`), and credentials in addresses."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
        yield from (value, *value.split())
    if isinstance(value, str) and "//" in value:
        yield from redaction.secrets_of_address(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets(item)


_VARIABLES = {variable for name in Settings.model_fields for variable in (name.upper(), f"{name.upper()}_FILE")}
