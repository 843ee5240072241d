"""The survival model's experiment and versions in MLflow.

Each training is a run of the experiment `survival` and a version of the registered model `survival`. The alias
`challenger` names the newest candidate, `champion` the version that serves. An alias is set in one transaction, so a
process that is killed leaves the old champion or the new one. By default MLflow's store is an SQLite file beside the
kept champion; `MLFLOW_TRACKING_URI` names a server.
"""

import json
import logging
import platform
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from alembic.util import CommandError
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from workflows.common.errors import NotReadyError, ServiceError
from workflows.common.redaction import redact
from workflows.ml_training_and_inference import artifact
from workflows.ml_training_and_inference.artifact import ARTIFACT_FILE, UnusableVersionError, Version
from workflows.ml_training_and_inference.champion import keep_champion, kept_champion
from workflows.ml_training_and_inference.training_log import MODEL_FOLDER

logger = logging.getLogger(__name__)
logging.getLogger("mlflow").setLevel(logging.WARNING)
# Hints about schemas and sources, which are as they should be.
warnings.filterwarnings("ignore", category=UserWarning, module=r"mlflow\.(data|types)")

NAME = "survival"
CHAMPION, CHALLENGER = "champion", "challenger"
DATABASE_FILE = "mlflow.db"
RECORD_FILE = "training.json"
# Tags of a version. An unset one does not exist.
FINGERPRINT = "fingerprint"
PROMOTED = "promoted_utc"
REJECTED = "rejected"
REPLACED_BY = "replaced_by_training_of"
ROLLED_BACK = "rolled_back_utc"
# Tag of a run: the machine that trains, so that another one does not end it.
_MACHINE = "machine"
_LOCK_SECONDS = 60.0
_TRAINING_LOCK_SECONDS = 900.0
_MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})

Status = Literal["champion", "challenger", "served before", "rejected", "candidate"]


class Registry:
    """The experiment and the versions, and this machine's copy of the champion.

    Args:
        models_dir: Folder of the kept champion, of the locks and, by default, of MLflow's store.
        tracking_uri: MLflow's server or store; by default an SQLite file in `models_dir`.

    All methods raise ServiceError if MLflow cannot be used.
    """

    def __init__(self, models_dir: Path, tracking_uri: str | None = None):
        self.models_dir = models_dir
        self.is_local = tracking_uri is None
        self.uri = tracking_uri or f"sqlite:///{models_dir / DATABASE_FILE}"
        self.is_on_server = self.uri.startswith(("http:", "https:", "databricks"))
        self.artifacts_uri = (models_dir.absolute() / "artifacts").as_uri()

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client; creates the store, the experiment and the registered model where they are missing."""
        with self._errors(), self.lock("store"):
            client = MlflowClient(self.uri, registry_uri=self.uri)
            if client.get_experiment_by_name(NAME) is None:
                client.create_experiment(NAME, None if self.is_on_server else self.artifacts_uri)
            if not client.search_registered_models(f"name = '{NAME}'"):
                client.create_registered_model(NAME, description="Which passengers of the Titanic survive.")
            return client

    def ensure_store(self) -> None:
        """Create what is missing in MLflow, which takes seconds the first time."""
        _ = self.client

    @cached_property
    def experiment_id(self) -> str:
        """Id of the experiment."""
        with self._errors():
            experiment = self.client.get_experiment_by_name(NAME)
            assert experiment is not None  # The client has created it.
            return str(experiment.experiment_id)

    @contextmanager
    def lock(self, name: str, timeout_seconds: float = _LOCK_SECONDS) -> Iterator[None]:
        """Keep other processes of this machine out.

        Raises:
            NotReadyError: another process has not finished before the timeout.
        """
        self.models_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.models_dir / f".{name}.lock", timeout=timeout_seconds)
        try:
            lock.acquire()
        except Timeout:
            raise NotReadyError(
                f"another process has held {lock.lock_file} for {timeout_seconds:g} s: wait until it has finished"
            ) from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def training_lock(self) -> Iterator[None]:
        """Let one process of this machine train at a time, and mark earlier trainings that were killed."""
        with self.lock("training", _TRAINING_LOCK_SECONDS):
            with self._errors():
                killed = f"attributes.status = 'RUNNING' and tags.{_MACHINE} = '{platform.node()}'"
                for run in self.client.search_runs([self.experiment_id], killed):
                    self.client.set_terminated(run.info.run_id, "KILLED")
            yield

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str] | None = None, parent: str | None = None) -> Iterator[str]:
        """Yield the id of a new run, which ends with the body."""
        own = {_MACHINE: platform.node(), **({MLFLOW_PARENT_RUN_ID: parent} if parent else {}), **(tags or {})}
        with self._errors():
            run_id = self.client.create_run(self.experiment_id, tags=own, run_name=name).info.run_id
            try:
                yield run_id
            except Exception:
                self.client.set_terminated(run_id, "FAILED")
                raise
            self.client.set_terminated(run_id)

    def children(self, run_id: str) -> set[str]:
        """Return the names of the finished child runs of a run."""
        with self._errors():
            parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}' and attributes.status = 'FINISHED'"
            return {run.info.run_name for run in self.client.search_runs([self.experiment_id], parent)}

    def log(self, run_id: str, params: Mapping[str, Any], metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
        """Add parameters, metrics (at most a thousand, MLflow's limit) and tags to a run."""
        with self._errors():
            self.client.log_batch(
                run_id,
                metrics,
                [Param(name, str(value)) for name, value in params.items()],
                [RunTag(name, value) for name, value in tags.items()],
            )

    def log_data(self, run_id: str, df: pd.DataFrame, source: str, digest: str) -> None:
        """Add the training data to a run as an MLflow dataset: source, schema, number of rows and hash."""
        dataset = from_pandas(df, source=source, name="passengers", targets="survived", digest=digest)
        with self._errors():
            tag = InputTag("mlflow.data.context", "training")
            self.client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), [tag])])

    def log_texts(self, run_id: str, files: Mapping[str, str]) -> None:
        """Add text files to a run, by path."""
        with self._errors(), tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                target = Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            self.client.log_artifacts(run_id, folder)

    def add_version(self, run_id: str, fingerprint: str, rejected: Sequence[str]) -> str:
        """Register the model of a run as a version, which becomes the challenger; return its number."""
        tags = {FINGERPRINT: fingerprint, **({REJECTED: "; ".join(rejected)} if rejected else {})}
        with self._errors():
            source = f"runs:/{run_id}/{MODEL_FOLDER}"
            version = self.client.create_model_version(NAME, source, run_id, tags=tags)
            self.client.set_registered_model_alias(NAME, CHALLENGER, str(version.version))
        return str(version.version)

    def versions(self) -> list[ModelVersion]:
        """Return all versions, the newest first. MLflow leaves out their aliases."""
        with self._errors():
            found = self.client.search_model_versions(f"name = '{NAME}'")
        return sorted(found, key=lambda version: -int(version.version))

    def find(self, fingerprint: str) -> ModelVersion | None:
        """Return the newest version with this fingerprint whose model can be loaded."""
        for version in self.versions():
            if version.tags.get(FINGERPRINT) == fingerprint:
                try:
                    self.load(version)
                except UnusableVersionError:
                    continue
                return self.get(str(version.version))
        return None

    def get(self, number: str) -> ModelVersion:
        """Return a version with its aliases."""
        with self._errors():
            return self.client.get_model_version(NAME, number)

    def statuses(self) -> dict[str, Status]:
        """Return the status of each version by its number, the newest first."""
        with self._errors():
            numbers = {alias: str(number) for alias, number in self.client.get_registered_model(NAME).aliases.items()}

        def aliases(version: ModelVersion) -> list[str]:
            return [alias for alias, number in numbers.items() if number == str(version.version)]

        return {str(version.version): status(version, aliases(version)) for version in self.versions()}

    def champion(self) -> ModelVersion | None:
        """Return the version with the alias `champion`, None before the first promotion."""
        with self._errors():
            try:
                return self.client.get_model_version_by_alias(NAME, CHAMPION)
            except MlflowException as error:
                if error.error_code in _MISSING:
                    return None
                raise

    def metrics(self, version: ModelVersion) -> dict[str, float]:
        """Return the metrics of a version's run, empty if it was removed."""
        with self._errors():
            try:
                return self.client.get_run(run_of(version)).data.metrics
            except UnusableVersionError:
                return {}
            except MlflowException as error:
                if error.error_code in _MISSING:
                    return {}
                raise

    def read(self, version: ModelVersion, path: str) -> str:
        """Return a text file of the run that trained a version.

        Raises:
            UnusableVersionError: the run has no such file.
        """
        run_id = run_of(version)
        with self._errors(), tempfile.TemporaryDirectory() as folder:
            try:
                return Path(self.client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8")
            except (MlflowException, OSError) as error:
                if isinstance(error, MlflowException) and error.error_code not in {*_MISSING, "NOT_FOUND"}:
                    raise
                raise UnusableVersionError(f"{path} of run {run_id} cannot be read") from error

    def record(self, version: ModelVersion) -> dict[str, Any]:
        """Return what was recorded when a version was trained, with its number as `version`."""
        return {**json.loads(self.read(version, RECORD_FILE)), "version": str(version.version)}

    def load(self, version: ModelVersion) -> Version:
        """Load the model of a version.

        Raises:
            UnusableVersionError: says what is wrong with the version.
        """
        try:
            content = json.loads(self.read(version, f"{MODEL_FOLDER}/{ARTIFACT_FILE}"))
        except ValueError as error:
            raise UnusableVersionError(f"it is damaged ({type(error).__name__})") from error
        return Version(str(version.version), run_of(version), artifact.from_dict(content))

    def promote(self, number: str, incumbent: str | None = None, *, by_training: bool = False) -> bool:
        """Make a version the champion, here and in MLflow.

        Args:
            number: The version.
            incumbent: With `by_training`, the champion that the version was compared with.
            by_training: Do nothing if another version has become the champion since the comparison.

        Returns:
            Whether the version is the champion now.

        Raises:
            UnusableVersionError: the version cannot serve; nothing has changed.
        """
        with self.lock("promotion"), self._errors():
            version, current = self.get(number), self.champion()
            if by_training and current is not None and str(current.version) not in {incumbent, number}:
                return False
            self.load(version)
            self.client.set_registered_model_alias(NAME, CHAMPION, number)
            if current is not None and str(current.version) != number:
                # Somebody may have set the alias in MLflow itself.
                if PROMOTED not in current.tags:
                    self._tag(current, PROMOTED)
                if by_training:
                    self._tag(current, REPLACED_BY, number)
            for tag in {REPLACED_BY, ROLLED_BACK} & set(version.tags):
                self.client.delete_model_version_tag(NAME, number, tag)
            self._tag(version, PROMOTED)
            if CHALLENGER in version.aliases:
                self.client.delete_registered_model_alias(NAME, CHALLENGER)
        self.refresh()
        return True

    def roll_back(self) -> tuple[str, str]:
        """Make the version the champion that was promoted before the present one; again, the one before that.

        Returns:
            The version that served until now, and the one that serves now.

        Raises:
            NotReadyError: no usable version served before; nothing has changed.
        """
        with self.lock("promotion"), self._errors():
            current = self.champion()
            if current is None:
                raise NotReadyError("there is no champion: run pipeline ml_training_and_inference")
            since = current.tags.get(PROMOTED, "")
            earlier = [
                version
                for version in self.versions()
                if version.tags.get(PROMOTED, since) < since and ROLLED_BACK not in version.tags
            ]
            for version in sorted(earlier, key=lambda version: version.tags[PROMOTED], reverse=True):
                try:
                    self.load(version)
                except UnusableVersionError as error:
                    logger.warning("model version %s is skipped: %s", version.version, error)
                    continue
                self.client.set_registered_model_alias(NAME, CHAMPION, str(version.version))
                self._tag(current, ROLLED_BACK)
                break
            else:
                raise NotReadyError("there is no usable version that served before")
        self.refresh()
        return str(current.version), str(version.version)

    def refresh(self) -> None:
        """Keep MLflow's champion on this machine if another version is kept, or none.

        Raises:
            UnusableVersionError: MLflow's champion cannot serve; the kept one stays.
        """
        with self.lock("champion"):
            champion = self.champion()
            if champion is None:
                return
            if kept_champion(self.models_dir) != (str(champion.version), champion.run_id):
                keep_champion(self.models_dir, self.load(champion))

    def _tag(self, version: ModelVersion, name: str, value: str | None = None) -> None:
        value = value or datetime.now(UTC).isoformat()
        self.client.set_model_version_tag(NAME, str(version.version), name, value)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of MLflow and of its store into one that says what to do."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, CommandError) as error:
            reason = str(error).strip().partition("\n")[0][:300]
            remedy = (
                "restore it from a copy, or move it away: the next training starts a new one"
                if self.is_local
                else "check MLFLOW_TRACKING_URI and the server"
            )
            raise ServiceError(
                redact(f"MLflow at {self.uri} cannot be used: {remedy} ({type(error).__name__}: {reason})")
            ) from None


def run_of(version: ModelVersion) -> str:
    """Return the id of the run that trained a version.

    Raises:
        UnusableVersionError: it was registered without a run.
    """
    if version.run_id is None:
        raise UnusableVersionError("it was registered without a run")
    return version.run_id


def status(version: ModelVersion, aliases: Collection[str]) -> Status:
    """Return the status of a version with these aliases."""
    if CHAMPION in aliases:
        return "champion"
    if PROMOTED in version.tags:
        return "served before"
    if REJECTED in version.tags:
        return "rejected"
    return "challenger" if CHALLENGER in aliases else "candidate"


def was_replaced_by_hand(version: ModelVersion) -> bool:
    """Tell whether a person, not a training, took the place of the champion from this version."""
    if CHAMPION in version.aliases:
        return False
    return ROLLED_BACK in version.tags or (PROMOTED in version.tags and REPLACED_BY not in version.tags)
