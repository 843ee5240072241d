"""The survival model: training, one prediction, and many in a batch, each beside a peer in the same run.

Run as `python -m benchmarks.bench_model`. Ours and the peer take turns, so that what else the machine does slows
both; a ratio is that of one turn. The peers: for training and probabilities, the baseline of logistic regression, a
scikit-learn pipeline that encodes the same passengers; for contributions, XGBoost alone on features that are ready,
which for one passenger gives the probability only.
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
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import xgboost as xgb
from rich.table import Table
from threadpoolctl import threadpool_limits

from stack.console import Console
from workflows.common.settings import REPO_PATH
from workflows.sql_python.passenger_files import load_passengers
from workflows.sql_python.passengers import ATTRIBUTE_NAMES, TARGET, parse_attributes
from workflows.survival import registry
from workflows.survival.evaluation import BASELINES, MODEL, cross_validate
from workflows.survival.inference import predict_batch, predict_passenger, predict_with
from workflows.survival.train_and_promote import FOLDS, PARAMETERS, REPEATS, train_survival_model
from workflows.survival.training import fit

PEER = "logistic regression"
XGBOOST = "XGBoost alone"
BATCH_WORKERS = 2
TARGET_SECONDS = 0.001


@dataclass(frozen=True)
class Side:
    """Something to be measured: a turn is the median time of a call over the items."""

    call: Callable[[Any], object]
    items: Sequence[Any] = (None,)

    def turn(self) -> float:
        """Return seconds."""
        return statistics.median(map(self._seconds, self.items))

    def _seconds(self, item: object) -> float:
        begin = time.perf_counter()
        self.call(item)
        return time.perf_counter() - begin


@dataclass(frozen=True)
class Pair:
    """What is compared; of what is slow there are fewer turns, and none that does not count."""

    name: str
    ours: Side
    peer_name: str
    peer: Side
    is_slow: bool = False


@dataclass(frozen=True)
class Measured:
    """The seconds of every turn."""

    pair: Pair
    ours: list[float]
    peer: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="turns of what is quick")
    parser.add_argument("--slow-repeats", type=int, default=3, help="turns of the evaluation and of the batch")
    parser.add_argument("--passengers", type=int, default=100_000, help="in the batch")
    arguments = parser.parse_args()
    # Why a model is rejected or promoted is not of interest here.
    logging.disable(logging.WARNING)
    console = Console()
    libraries = ", ".join(f"{name} {version_of(name)}" for name in ("xgboost", "scikit-learn", "pandas"))
    console.say(f"{os.cpu_count()} cores, {libraries}; {asdict(PARAMETERS)}")
    titanic = load_passengers(str(REPO_PATH / "data" / "titanic.csv"))
    with tempfile.TemporaryDirectory(prefix="bench-model-") as folder:
        models_dir = Path(folder) / "serving"
        version = _version(titanic, models_dir)
        many = sampled(titanic, arguments.passengers)
        with console.step(f"{len(many):,} passengers once, for the memory"), peak_memory() as peak:
            predict_batch(version, many)
        pairs = (
            *_predictions(titanic, version, models_dir),
            *_training(titanic, Path(folder)),
            *_batch(titanic, version, many),
        )
        results = []
        # As in the evaluation: on busy cores, pools of threads make the peers many times slower.
        with threadpool_limits(1):
            for pair in pairs:
                with console.step(pair.name):
                    results.append(measure(pair, arguments.slow_repeats if pair.is_slow else arguments.repeats))
    console.rich.print(_table(results))
    console.say(f"Memory that the batch with contributions takes at most: {peak[0]:,.0f} MB")
    single = statistics.median(results[0].ours)
    verdict = "reached" if single <= TARGET_SECONDS else "MISSED"
    console.say(f"One prediction with contributions: {1000 * single:.2f} ms, at most 1 ms: {verdict}")


def sampled(titanic: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw passengers with replacement, their ages and fares changed a little; what is missing stays so."""
    generator = np.random.default_rng(seed)
    drawn = titanic.iloc[generator.integers(len(titanic), size=count)].reset_index(drop=True)
    age_years = (drawn["age"] + generator.normal(0, 5, count)).clip(0, 100).round(1)
    fare = (drawn["fare"] * generator.lognormal(0, 0.2, count)).round(4)
    return drawn.assign(age=age_years, fare=fare)


def measure(pair: Pair, repeats: int) -> Measured:
    """Take turns."""
    if not pair.is_slow:
        pair.ours.turn(), pair.peer.turn()
    turns = [(pair.ours.turn(), pair.peer.turn()) for _ in range(repeats)]
    return Measured(pair, [ours for ours, _ in turns], [peer for _, peer in turns])


@contextmanager
def peak_memory(poll_seconds: float = 0.02) -> Iterator[list[float]]:
    """Yield a list that holds, after the body, by how many MB the process grew at most meanwhile."""
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


def _version(titanic: pd.DataFrame, models_dir: Path) -> registry.Version:
    pipeline = fit(titanic[list(ATTRIBUTE_NAMES)], titanic[TARGET].to_numpy(), PARAMETERS)
    registry.save(models_dir, pipeline, {"rows": len(titanic)}, "0" * 64)
    return registry.serving_version(models_dir)


def _predictions(titanic: pd.DataFrame, version: registry.Version, models_dir: Path) -> Iterator[Pair]:
    texts = [
        {str(name): str(value) for name, value in row.items() if pd.notna(value)}
        for row in titanic[list(ATTRIBUTE_NAMES)].to_dict("records")
    ]
    parsed = [parse_attributes(text) for text in texts]
    rows = [np.array([version.pipeline["features"].row(passenger)], dtype=np.float32) for passenger in parsed]
    booster = version.pipeline["model"].get_booster()
    bare = Side(lambda row: booster.predict(xgb.DMatrix(row, nthread=1)), rows)
    one = Side(lambda passenger: predict_with(version, passenger), parsed)
    yield Pair("one prediction with contributions", one, XGBOOST, bare)
    one_from_text = Side(lambda text: predict_passenger(text, models_dir), texts)
    yield Pair("the same from text", one_from_text, XGBOOST, bare)


def _training(titanic: pd.DataFrame, folder: Path) -> Iterator[Pair]:
    X, y = titanic[list(ATTRIBUTE_NAMES)], titanic[TARGET].to_numpy()
    fit_peer = BASELINES[PEER]
    yield Pair(
        f"fit, {len(titanic)} passengers", Side(lambda _: fit(X, y, PARAMETERS)), PEER, Side(lambda _: fit_peer(X, y))
    )
    number = itertools.count()
    block = Side(lambda _: train_survival_model(titanic, folder / f"training {next(number)}"))
    folds = Side(lambda _: cross_validate(titanic, {MODEL: fit_peer}, folds=FOLDS, repeats=REPEATS))
    yield Pair("training block with evaluation", block, "the same folds", folds, is_slow=True)


def _batch(titanic: pd.DataFrame, version: registry.Version, many: pd.DataFrame) -> Iterator[Pair]:
    matrix = xgb.DMatrix(version.pipeline["features"].transform(many), nthread=BATCH_WORKERS)
    booster = version.pipeline["model"].get_booster().copy()
    booster.set_param({"nthread": BATCH_WORKERS})
    ours = Side(lambda _: predict_batch(version, many, workers=BATCH_WORKERS))
    peer = Side(lambda _: booster.predict(matrix, pred_contribs=True))
    yield Pair(f"{len(many):,} passengers with contributions", ours, XGBOOST, peer, is_slow=True)
    logistic = BASELINES[PEER](titanic[list(ATTRIBUTE_NAMES)], titanic[TARGET].to_numpy())
    ours = Side(lambda _: version.pipeline.predict_proba(many))
    peer = Side(lambda _: logistic.predict_proba(many))
    yield Pair(f"{len(many):,} passengers, probabilities alone", ours, PEER, peer, is_slow=True)


def _table(results: list[Measured]) -> Table:
    table = Table("", "turns", "ours", "peer", "its time", "ours ÷ peer", box=None)
    table.title = "Median of the turns (fastest to slowest)"
    for result in results:
        pair = result.pair
        ratios = [ours / peer for ours, peer in zip(result.ours, result.peer, strict=True)]
        times = [_spread(each, *_unit(each)) for each in (result.ours, result.peer)]
        table.add_row(pair.name, str(len(ratios)), times[0], pair.peer_name, times[1], _spread(ratios))
    return table


def _unit(seconds: list[float]) -> tuple[float, str]:
    return (1, " s") if statistics.median(seconds) >= 1 else (1000, " ms")


def _spread(values: list[float], factor: float = 1, unit: str = "") -> str:
    middle, fastest, slowest = (factor * value for value in (statistics.median(values), min(values), max(values)))
    return f"{middle:.2f} ({fastest:.2f} to {slowest:.2f}){unit}"


if __name__ == "__main__":
    main()
