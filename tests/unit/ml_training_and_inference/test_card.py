import base64
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from scipy.stats import binomtest
from sklearn.pipeline import Pipeline

from workflows.ml_training_and_inference import card, evaluation, plots
from workflows.ml_training_and_inference.artifact import Version
from workflows.ml_training_and_inference.card import CARD_FILE, as_block_output, model_card, survival_by_group
from workflows.ml_training_and_inference.checks import check_data
from workflows.ml_training_and_inference.evaluation import Evaluation, evaluate
from workflows.ml_training_and_inference.train_and_promote import hash_data
from workflows.ml_training_and_inference.training import Parameters, fit
from workflows.passengers.contract import ATTRIBUTE_NAMES

VOID = {"meta", "br", "hr", "img", "input", "link", "path", "use"}
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """A parsed page: elements with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.tables: list[list[str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.tables.append([])
        elif "table" in self.open:
            self.tables[-1].append(tag)
        if tag in {"td", "th", "caption", "p", "li", "br"}:
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def evaluated(titanic: pd.DataFrame) -> Evaluation:
    return evaluate(titanic, Parameters(), folds=2, repeats=2)


@pytest.fixture(scope="module")
def record(titanic: pd.DataFrame, evaluated: Evaluation) -> dict[str, Any]:
    return {
        "data_sha256": hash_data(titanic),
        "evaluation": {"folds": 2, "repeats": 2},
        "rows": len(titanic),
        "survivors": int(titanic["survived"].sum()),
        "metrics": evaluated.table().to_dict("records"),
        "checks": [asdict(check) for check in check_data(titanic)],
        "promotion": {"accepted": False, "reasons": ["grouped ROC AUC is too low"], "comparison": "in the same folds"},
    }


@pytest.fixture(scope="module")
def version(pipeline: Pipeline) -> Version:
    return Version("3", "run", pipeline)


@pytest.fixture(scope="module")
def html(version: Version, record: dict[str, Any], titanic: pd.DataFrame, evaluated: Evaluation) -> str:
    return model_card(version, record, titanic, evaluated)[CARD_FILE]


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def assert_stands_alone(html: str) -> Page:
    page = Page(html)
    # A link, also one within the page, would load Mage in the frame that shows the card.
    forbidden = {"a", "script", "link", "iframe", "object", "embed", "base", "form"}
    assert forbidden.isdisjoint(tag for tag, _ in page.elements)
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
    assert re.findall(r"url\(|@import|expression\(", html) == []
    assert len(html.encode()) < 500_000
    return page


def test_the_page_loads_no_files_runs_no_scripts_and_links_nowhere(html: str) -> None:
    page = assert_stands_alone(html)
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert html.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]


def test_values_are_escaped(pipeline: Pipeline, titanic: pd.DataFrame, record: dict, evaluated: Evaluation) -> None:
    hostile = titanic.assign(_name=HOSTILE, ticket=HOSTILE, cabin=HOSTILE)
    hostile_record = record | {
        "checks": [{"name": HOSTILE, "severity": HOSTILE, "passed": False, "detail": HOSTILE}],
        "promotion": {"accepted": False, "reasons": [HOSTILE], "comparison": HOSTILE},
        "data_sha256": HOSTILE,
    }
    files = model_card(Version(HOSTILE, "run", pipeline), hostile_record, hostile, evaluated)
    page = assert_stands_alone(files[CARD_FILE])
    # The version in title and header, three of the check, one reason, the hash.
    assert page.text.count(HOSTILE) == 2 + 3 + 1 + 1


def test_a_screen_reader_can_follow_the_structure(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.tables) == 4
    assert all(header.get("scope") in {"col", "row"} for header in page.all("th"))
    assert len(page.all("img")) == 4
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    # Regions that scroll on a phone can be reached by keyboard, and have a name.
    regions = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert len(regions) == len(page.tables)
    assert all(one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in regions)


def test_plots_are_svg_files_with_their_figures(
    version: Version, record: dict[str, Any], titanic: pd.DataFrame, evaluated: Evaluation, page: Page
) -> None:
    files = model_card(version, record, titanic, evaluated)
    assert set(files) == {CARD_FILE, *(f"plots/{name}.svg" for name in ("calibration", "roc", "importance", "groups"))}
    shown = {base64.b64decode(image["src"].partition(",")[2]).decode() for image in page.all("img")}
    assert shown == {text for path, text in files.items() if path != CARD_FILE}
    texts = {path: "".join(ElementTree.fromstring(svg).itertext()) for path, svg in files.items() if path != CARD_FILE}
    assert "predicted probability" in texts["plots/calibration.svg"]
    assert all(split in texts["plots/roc.svg"] for split in ("stratified", "grouped"))
    assert "sex: women and girls (314)" in texts["plots/groups.svg"]


def test_metrics_of_model_and_baselines_are_shown_with_their_spread(page: Page, record: dict[str, Any]) -> None:
    assert {row["classifier"] for row in record["metrics"]} == {evaluation.MODEL, *evaluation.BASELINES}
    for row in record["metrics"]:
        figures = " ".join(f"{row[name]:.3f} ± {row[f'{name}_spread']:.3f}" for name in evaluation.METRICS)
        assert f"{row['classifier']} {figures}" in page.words


def test_limits_decision_and_data_are_stated(page: Page, record: dict[str, Any]) -> None:
    assert "parameters were chosen by trials on all bundled passengers" in page.words
    assert "Rejected by the promotion rules when it was trained: grouped ROC AUC is too low." in page.words
    assert record["data_sha256"] in page.words
    assert "age is missing for 15 % of the survivors and 23 % of the victims" in page.words
    assert f"{len(record['checks'])} checks before training, 0 failed" in page.words


def test_other_passengers_are_not_described_as_the_bundled_ones(
    titanic: pd.DataFrame, record: dict[str, Any], version: Version, evaluated: Evaluation
) -> None:
    assert record["data_sha256"] == card.BUNDLED_DATA_SHA256
    other = Page(model_card(version, record | {"data_sha256": "0" * 64}, titanic, evaluated)[CARD_FILE]).words
    assert "Not the bundled passengers" in other
    assert "Encyclopedia" not in other


def test_unusual_passengers(titanic: pd.DataFrame, record: dict[str, Any]) -> None:
    odd = titanic.head(60).assign(age=np.nan, embarked=None, cabin=None, pclass=3, fare=np.nan, sex="male")
    parameters = Parameters(n_estimators=5)
    pipeline = fit(odd[list(ATTRIBUTE_NAMES)], odd["survived"].to_numpy(), parameters)
    evaluated = evaluate(odd, parameters, folds=2, repeats=1)
    page = assert_stands_alone(model_card(Version("1", "run", pipeline), record, odd, evaluated)[CARD_FILE])
    assert "port unknown 60" in page.words


def test_concurrent_rendering_gives_the_same_bytes(
    html: str, version: Version, record: dict[str, Any], titanic: pd.DataFrame, evaluated: Evaluation
) -> None:
    def draw(_: int) -> str:
        return model_card(version, record, titanic, evaluated)[CARD_FILE]

    # matplotlib's settings in this process must not affect the card, and the card must not change them.
    with mpl.rc_context({"xtick.major.size": 20, "svg.fonttype": "path"}), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(draw, range(2))) == [html, html]
        assert (mpl.rcParams["xtick.major.size"], mpl.rcParams["svg.fonttype"]) == (20, "path")


def test_the_lock_is_held_while_matplotlib_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []
    save = plots.Figure.savefig

    def look_and_save(*args: Any, **kwargs: Any) -> None:
        held.append(plots._matplotlib_lock.locked())
        save(*args, **kwargs)

    monkeypatch.setattr(plots.Figure, "savefig", look_and_save)
    plots.importance({"age": 0.5, "fare": 0.25})
    assert held == [True]


def test_importance_is_the_mean_absolute_contribution(page: Page, pipeline: Pipeline, titanic: pd.DataFrame) -> None:
    features = pipeline["features"].transform(titanic)
    matrix = pipeline["model"].get_booster().predict(xgb.DMatrix(features), pred_contribs=True)[:, :-1]
    means = pd.Series(np.abs(matrix).mean(axis=0), index=pipeline["features"].get_feature_names_out())
    places = [page.words.index(f"{name} {card.FEATURES[name].description} {mean:.3f}") for name, mean in means.items()]
    assert list(means.iloc[np.argsort(places)]) == sorted(means, reverse=True)


def test_held_out_probability_is_the_mean_over_the_repeats(evaluated: Evaluation) -> None:
    rows = evaluated.predictions.query("split == 'stratified' and row == 7")
    assert len(rows) == 2
    assert card.held_out_probability(evaluated, 891)[7] == pytest.approx(rows["probability"].mean())


def test_groups(titanic: pd.DataFrame) -> None:
    probability = titanic["pclass"].map({1: 0.6, 2: 0.5, 3: 0.25}).to_numpy()
    rows = pd.DataFrame(survival_by_group(titanic, probability))
    assert (rows.groupby("attribute")["passengers"].sum() == 891).all()
    found = rows.set_index(["attribute", "name"])
    assert found.loc[("class", "third"), "predicted"] == pytest.approx(0.25)
    assert found.loc[("class", "third"), "survived"] == pytest.approx(119 / 491)
    assert found.loc[("port", "unknown"), "passengers"] == titanic["embarked"].isna().sum() == 2
    assert found.loc[("age", "unknown"), "passengers"] == titanic["age"].isna().sum()
    assert found.loc[("age", "under 13"), "passengers"] == (titanic["age"] < 13).sum()
    assert found.loc[("age", "60 and over"), "passengers"] == (titanic["age"] >= 60).sum()


@pytest.mark.parametrize(("successes", "count"), [(0, 2), (2, 2), (119, 491), (1, 7)])
def test_wilson_interval(successes: int, count: int) -> None:
    interval = binomtest(successes, count).proportion_ci(method="wilson")
    assert card.wilson_interval(successes / count, count) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_every_metric_is_described() -> None:
    assert tuple(card.METRIC_NOTES) == tuple(evaluation.METRICS)


def is_html_to_mage(cell: str) -> bool:
    """Whether Mage's UI (0.9.79) renders a cell of a table as HTML."""
    attribute = r"""\s+[a-z0-9:_-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[\w\-.:]+))?"""
    return re.search(rf"<(?:/?[a-z][\w:.-]*\b(?:{attribute})*\s*/?)>", cell, flags=re.IGNORECASE) is not None


def test_the_block_output_is_a_sandboxed_frame(html: str) -> None:
    output = as_block_output(html, HOSTILE)
    cells = output.to_numpy().ravel().tolist()
    assert all(isinstance(cell, str) and is_html_to_mage(cell) for cell in cells)
    (cell,) = cells
    assert is_html_to_mage(cell[:10])
    outer = Page(cell)
    assert [tag for tag, _ in outer.elements] == ["div", "iframe"]
    (frame,) = outer.all("iframe")
    assert frame["sandbox"] == ""
    assert frame["srcdoc"] == html
    assert frame["title"] == f"Model card of version {HOSTILE}"


def test_importing_the_card_does_not_import_matplotlib() -> None:
    code = "import sys, workflows.ml_training_and_inference.card; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
