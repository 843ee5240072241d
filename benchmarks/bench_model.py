"""Benchmark the survival model: training, one prediction and a batch, each compared with a peer in the same run.

Run as `python -m benchmarks.bench_model`. The model and its peer are measured alternately, so that other load on the
machine slows both; a ratio compares two successive measurements. The peer of training and probabilities is the
logistic regression baseline, a scikit-learn pipeline that encodes the same passengers. The peer of predictions with
contributions is XGBoost alone on computed features; for one passenger it predicts only the probability.
"""

import argparse
import itertools
import logging
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import xgboost as xgb
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.tables import markdown_table, show
from stack.console import Console
from workflows.common.settings import REPO_PATH
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.champion import keep_champion, load_champion
from workflows.ml_training_and_inference.evaluation import BASELINES, MODEL, cross_validate
from workflows.ml_training_and_inference.inference import predict_batch, predict_passenger, predict_with
from workflows.ml_training_and_inference.registry import Registry
from workflows.ml_training_and_inference.train_and_promote import FOLDS, PARAMETERS, REPEATS, train_survival_model
from workflows.ml_training_and_inference.training import fit
from workflows.passengers.contract import ATTRIBUTE_NAMES, TARGET, parse_attributes
from workflows.passengers.files import load_passengers

PEER = "logistic regression"
XGBOOST = "XGBoost alone"
BATCH_WORKERS = 2


@dataclass(frozen=True)
class Target:
    """A function to be measured, and the arguments that it is called with one by one."""

    call: Callable[[Any], object]
    items: Sequence[Any] = (None,)

    def measure(self) -> float:
        """Return the median seconds of a call."""
        return statistics.median(map(self._seconds, self.items))

    def _seconds(self, item: object) -> float:
        begin = time.perf_counter()
        self.call(item)
        return time.perf_counter() - begin


@dataclass(frozen=True)
class Comparison:
    """The model and its peer; a slow comparison is repeated less often, and without a warm-up."""

    name: str
    ours: Target
    peer_name: str
    peer: Target
    is_slow: bool = False


@dataclass(frozen=True)
class Measurement:
    """Seconds of every repeat."""

    comparison: Comparison
    ours: list[float]
    peer: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="repeats of the fast comparisons")
    parser.add_argument(
        "--slow-repeats", type=int, default=3, help="repeats of the slow comparisons (training block and batch)"
    )
    parser.add_argument("--passengers", type=int, default=100_000, help="number of passengers in the batch")
    parser.add_argument("--smoke", action="store_true", help="a hundred passengers, each repeated once")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.repeats = arguments.slow_repeats = 1
        arguments.passengers = 100
    # Promotion and rejection of the trained models are not of interest here.
    logging.disable(logging.WARNING)
    console = Console()
    libraries = ", ".join(f"{name} {version_of(name)}" for name in ("xgboost", "scikit-learn", "pandas"))
    console.say(f"{os.cpu_count()} cores, {libraries}; {asdict(PARAMETERS)}")
    titanic = load_passengers(str(REPO_PATH / "data" / "titanic.csv"))
    with tempfile.TemporaryDirectory(prefix="bench-model-") as folder:
        models_dir = Path(folder) / "serving"
        version = _fit_version(titanic, models_dir)
        many = sample_passengers(titanic, arguments.passengers)
        with console.step(f"memory of one batch of {len(many):,} passengers"), peak_memory() as peak:
            predict_batch(version, many)
        comparisons = (
            *_compare_single_predictions(titanic, version, models_dir),
            *_compare_training(titanic, Path(folder)),
            *_compare_batches(titanic, version, many),
        )
        results = []
        # On busy cores, thread pools would make the peers many times slower.
        with threadpool_limits(1):
            for comparison in comparisons:
                repeats = arguments.slow_repeats if comparison.is_slow else arguments.repeats
                with console.step(comparison.name):
                    results.append(measure(comparison, repeats))
    show(_table(results), console.rich)
    console.say(f"Peak memory of the batch with contributions: {peak[0]:,.0f} MB")


def sample_passengers(titanic: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw passengers with replacement and vary their ages and fares slightly; missing values stay missing."""
    generator = np.random.default_rng(seed)
    drawn = titanic.iloc[generator.integers(len(titanic), size=count)].reset_index(drop=True)
    age_years = (drawn["age"] + generator.normal(0, 5, count)).clip(0, 100).round(1)
    fare = (drawn["fare"] * generator.lognormal(0, 0.2, count)).round(4)
    return drawn.assign(age=age_years, fare=fare)


def measure(comparison: Comparison, repeats: int) -> Measurement:
    """Measure the model and its peer alternately."""
    if not comparison.is_slow:
        comparison.ours.measure(), comparison.peer.measure()
    seconds = [(comparison.ours.measure(), comparison.peer.measure()) for _ in range(repeats)]
    return Measurement(comparison, [ours for ours, _ in seconds], [peer for _, peer in seconds])


@contextmanager
def peak_memory(poll_seconds: float = 0.02) -> Iterator[list[float]]:
    """Yield a list whose one element is, after the body, the peak growth of the process's memory in MB."""
    process, stop = psutil.Process(), threading.Event()
    before, peak = process.memory_info().rss, [0.0]

    def watch() -> None:
        while not stop.wait(poll_seconds):
            peak[0] = max(peak[0], (process.memory_info().rss - before) / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _fit_version(titanic: pd.DataFrame, models_dir: Path) -> Version:
    pipeline = fit(titanic[list(ATTRIBUTE_NAMES)], titanic[TARGET].to_numpy(), PARAMETERS)
    keep_champion(models_dir, Version("1", "", pipeline))
    return load_champion(models_dir)


def _compare_single_predictions(titanic: pd.DataFrame, version: Version, models_dir: Path) -> Iterator[Comparison]:
    texts = [
        {str(name): str(value) for name, value in row.items() if pd.notna(value)}
        for row in titanic[list(ATTRIBUTE_NAMES)].to_dict("records")
    ]
    parsed = [parse_attributes(text) for text in texts]
    rows = [np.array([version.pipeline["features"].row(passenger)], dtype=np.float32) for passenger in parsed]
    booster = version.pipeline["model"].get_booster()
    bare = Target(lambda row: booster.predict(xgb.DMatrix(row, nthread=1)), rows)
    one = Target(lambda passenger: predict_with(version, passenger), parsed)
    yield Comparison("one prediction with contributions", one, XGBOOST, bare)
    one_from_text = Target(lambda text: predict_passenger(text, models_dir), texts)
    yield Comparison("the same from text", one_from_text, XGBOOST, bare)


def _compare_training(titanic: pd.DataFrame, folder: Path) -> Iterator[Comparison]:
    X, y = titanic[list(ATTRIBUTE_NAMES)], titanic[TARGET].to_numpy()
    fit_peer = BASELINES[PEER]
    yield Comparison(
        f"fit, {len(titanic)} passengers",
        Target(lambda _: fit(X, y, PARAMETERS)),
        PEER,
        Target(lambda _: fit_peer(X, y)),
    )
    number = itertools.count()
    # Another seed each time: with the same parameters nothing would be trained. MLflow's store exists, as on a server.
    models_dir = folder / "training"
    Registry(models_dir).ensure_store()
    block = Target(lambda _: train_survival_model(titanic, models_dir, replace(PARAMETERS, seed=next(number))))
    folds = Target(lambda _: cross_validate(titanic, {MODEL: fit_peer}, folds=FOLDS, repeats=REPEATS))
    yield Comparison("training block with evaluation", block, "the same folds", folds, is_slow=True)


def _compare_batches(titanic: pd.DataFrame, version: Version, many: pd.DataFrame) -> Iterator[Comparison]:
    matrix = xgb.DMatrix(version.pipeline["features"].transform(many), nthread=BATCH_WORKERS)
    booster = version.pipeline["model"].get_booster().copy()
    booster.set_param({"nthread": BATCH_WORKERS})
    ours = Target(lambda _: predict_batch(version, many, workers=BATCH_WORKERS))
    peer = Target(lambda _: booster.predict(matrix, pred_contribs=True))
    yield Comparison(f"{len(many):,} passengers with contributions", ours, XGBOOST, peer, is_slow=True)
    logistic = BASELINES[PEER](titanic[list(ATTRIBUTE_NAMES)], titanic[TARGET].to_numpy())
    ours = Target(lambda _: version.pipeline.predict_proba(many))
    peer = Target(lambda _: logistic.predict_proba(many))
    yield Comparison(f"{len(many):,} passengers, probabilities alone", ours, PEER, peer, is_slow=True)


def _table(results: list[Measurement]) -> Table:
    table = markdown_table("median (fastest to slowest)", "repeats", "ours", "peer", "peer's time", "ours ÷ peer")
    for result in results:
        comparison = result.comparison
        ratios = [ours / peer for ours, peer in zip(result.ours, result.peer, strict=True)]
        times = [_spread(each, *_unit(each)) for each in (result.ours, result.peer)]
        table.add_row(comparison.name, str(len(ratios)), times[0], comparison.peer_name, times[1], _spread(ratios))
    return table


def _unit(seconds: list[float]) -> tuple[float, str]:
    return (1, " s") if statistics.median(seconds) >= 1 else (1000, " ms")


def _spread(values: list[float], factor: float = 1, unit: str = "") -> str:
    middle, fastest, slowest = (factor * value for value in (statistics.median(values), min(values), max(values)))
    return f"{middle:.2f} ({fastest:.2f} to {slowest:.2f}){unit}"


if __name__ == "__main__":
    main()
