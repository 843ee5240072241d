"""The one module that reads the environment.

Every variable has a default that works on one machine, so a local run sets none. Values come from the
process environment, then from `.env` in the repository, then from the defaults below; an empty value
counts as not set. `.env.example` lists them all.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

REPO_PATH = Path(__file__).resolve().parents[2]
ENV_FILE = Path(os.environ.get("ENV_FILE", REPO_PATH / ".env"))


class Settings(BaseSettings):
    """All settings, typed; units are in the names."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    state_dir: Path = Field(default=REPO_PATH / ".state", description="The one folder that holds all state.")
    listen_address: str = Field(default="127.0.0.1", description="Address that Mage's server listens on.")
    port: int = Field(default=6789, ge=1, le=65535, description="Port of Mage's server.")
    owner_email: str = Field(default="owner@localhost.localdomain", description="Login of the UI's owner.")
    scheduler_trigger_interval: float = Field(default=1, gt=0, description="Seconds between two looks of Mage.")
    mage_database_connection_url: SecretStr | None = Field(
        default=None, description="Mage's database; by default SQLite in the state folder."
    )
    duckdb_database: str | None = Field(default=None, description="By default warehouse.duckdb in the state folder.")

    companies_api_url: str | None = Field(
        default=None, description="Source of the companies; by default the bundled sample, served locally."
    )
    companies_api_timeout_seconds: float = Field(default=10, gt=0)
    companies_api_retries: int = Field(default=4, ge=0)

    passengers_csv: str | None = Field(default=None, description="Path or URL; by default data/titanic.csv.")

    openai_api_key: SecretStr | None = Field(default=None, description="Key of the language model's server.")
    openai_base_url: str | None = Field(default=None, description="Any OpenAI-compatible server.")
    openai_api_version: str | None = Field(
        default=None, description="Of Azure OpenAI's older addresses, such as 2024-10-21."
    )
    llm_model: str | None = Field(default=None, description="Name of the model at that server.")
    llm_timeout_seconds: float = Field(default=60, gt=0, description="Time limit of one request.")
    llm_budget_seconds: float = Field(
        default=180, gt=0, description="Time limit of one request with its retries, waiting for a place aside."
    )
    llm_wait_seconds: float = Field(
        default=1800, gt=0, description="Longest wait of one request for the limits below, and for a busy provider."
    )
    llm_context_tokens: int | None = Field(
        default=None, ge=256, description="Cut prompts to this ahead, for servers that cut silently, as Ollama does."
    )
    llm_extra_parameters: dict[str, Any] | None = Field(
        default=None, description="JSON added to each request, as the server documents it."
    )
    llm_price_per_million_input_tokens: float | None = Field(default=None, ge=0, description="In any currency.")
    llm_price_per_million_output_tokens: float | None = Field(default=None, ge=0)
    local_model_path: Path | None = Field(default=None, description="Another GGUF file for the local server.")

    max_llm_calls_at_once: int = Field(default=2, ge=1, description="Shared by all processes of this state folder.")
    max_llm_calls_per_minute: int | None = Field(
        default=None, ge=1, description="Shared likewise; by default no limit."
    )

    llm_cache: bool = Field(default=True, description="Whether answers are kept: the same question is asked once.")
    llm_cache_max_bytes: int = Field(default=50_000_000, ge=1, description="Those not used for longest are dropped.")

    master: str | None = Field(default=None, description="Spark master, as Spark names it; by default local.")
    spark_remote: str | None = Field(default=None, description="Address of a Spark Connect server, sc://…")
    spark_conf_dir: Path | None = Field(default=None, description="Folder of spark-defaults.conf.")
    spark_home: Path | None = Field(default=None, description="Another Spark; by default the installed pyspark.")
    spark_data_uri: str | None = Field(
        default=None, description="Where Spark keeps its data; a cluster needs storage that all of it sees."
    )
    spark_timeout_seconds: float = Field(default=900, gt=0, description="Time limit of one block's Spark work.")
    spark_keep_datasets: int = Field(
        default=20, ge=2, description="How many local data sets are kept, newest first; two a run."
    )
    java_home: Path | None = Field(default=None, description="Java of local Spark; by default the bundled one.")

    run_api_workers: int = Field(default=16, ge=1, le=256, description="Calls of /api/runs that run at a time.")
    run_api_queue: int = Field(default=64, ge=0, description="Calls that wait; further ones are answered 429.")
    run_api_timeout_seconds: float = Field(default=300, gt=0, description="Time limit of one call, waiting included.")
    run_api_max_body_bytes: int = Field(default=1_048_576, ge=1024, le=104_857_600, description="Of one call.")
    run_api_body_timeout_seconds: float = Field(default=30, gt=0, description="Time that a body may take to arrive.")
    run_api_retention_days: float = Field(default=30, gt=0, description="Age at which recorded calls are removed.")

    @property
    def data_dir(self) -> Path:
        """Bundled inputs."""
        return REPO_PATH / "data"

    @property
    def passengers_source(self) -> str:
        """Where the passengers come from: a path or a URL."""
        return self.passengers_csv or str(self.data_dir / "titanic.csv")

    @property
    def models_dir(self) -> Path:
        """Versions of the survival model."""
        return self.state_dir / "models"

    @property
    def frameworks_dir(self) -> Path:
        """Versions of the decision framework."""
        return self.state_dir / "frameworks"

    @property
    def llm_dir(self) -> Path:
        """Kept answers, usage, and the limits that processes share."""
        return self.state_dir / "llm"

    @property
    def uses_local_llm(self) -> bool:
        """Whether the bundled model answers: neither a server nor a model is named. A key alone changes nothing."""
        return self.openai_base_url is None and self.llm_model is None


def get_settings() -> Settings:
    """Return the settings as the environment and `.env` are now: read again only where one of them has changed.

    Raises:
        pydantic.ValidationError: names the variable that is wrong, without its value.
    """
    try:
        stat = ENV_FILE.stat()
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError:
        stamp = None
    return _read(stamp, tuple(map(os.environ.get, _VARIABLES)))


@lru_cache(maxsize=4)
def _read(_file: object, _variables: object) -> Settings:
    settings = Settings()
    return settings.model_copy(update={"state_dir": settings.state_dir.expanduser().resolve()})


_VARIABLES = tuple(name.upper() for name in Settings.model_fields)
