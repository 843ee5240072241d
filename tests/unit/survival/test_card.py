import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from scipy.stats import binomtest
from sklearn.pipeline import Pipeline

from workflows.sql_python.passengers import ATTRIBUTE_NAMES, COLUMN_NAMES
from workflows.survival import card, evaluation, plots, registry
from workflows.survival.card import as_block_output, choose_examples, model_card, survival_by_group
from workflows.survival.checks import check_data
from workflows.survival.evaluation import Evaluation, evaluate
from workflows.survival.training import Parameters, fit

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


def metadata_of(passengers: pd.DataFrame, evaluated: Evaluation) -> dict[str, Any]:
    return {
        "version": "20250131T120000123456Z-1a2b3c4d",
        "created_utc": "2025-01-31T12:00:00.123456+00:00",
        "fingerprint": "ab" * 32,
        "model_sha256": "cd" * 32,
        "data_sha256": registry.hash_data(passengers),
        "code_sha256": "ef" * 32,
        "git_commit": "01" * 20,
        "parameters": asdict(Parameters()),
        "evaluation": {"folds": 2, "repeats": 2},
        "libraries": registry.library_versions(),
        "rows": len(passengers),
        "survivors": int(passengers["survived"].sum()),
        "seconds": {"training": 0.1, "evaluation": 12.3},
        "metrics": evaluated.to_dict(),
        "checks": [asdict(check) for check in check_data(passengers)],
        "promotion": {
            "accepted": False,
            "reasons": ["grouped ROC AUC 0.800 is not better than 0.900 of demo features"],
            "incumbent": "20240131T120000123456Z-1a2b3c4d",
            "comparison": "in the same folds",
        },
    }


@pytest.fixture(scope="module")
def metadata(titanic: pd.DataFrame, evaluated: Evaluation) -> dict[str, Any]:
    return metadata_of(titanic, evaluated)


@pytest.fixture(scope="module")
def html(metadata: dict[str, Any], pipeline: Pipeline, titanic: pd.DataFrame, evaluated: Evaluation) -> str:
    return model_card(metadata, pipeline, titanic, evaluated.predictions)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def assert_stands_alone(html: str) -> Page:
    page = Page(html)
    assert {"script", "link", "img", "iframe", "object", "embed", "base", "form"}.isdisjoint(
        tag for tag, _ in page.elements
    )
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href", "src", "srcset", "action"):
            assert attributes.get(name, "#").startswith("#")
    assert re.findall(r"url\((?!#)|@import|expression\(", html) == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', html))
    assert referred <= set(ids)
    assert len(html.encode()) < 1_500_000
    return page


def test_the_page_loads_no_files_and_runs_no_scripts(html: str) -> None:
    page = assert_stands_alone(html)
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert html.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]


def test_values_are_escaped(
    metadata: dict[str, Any], pipeline: Pipeline, titanic: pd.DataFrame, evaluated: Evaluation
) -> None:
    hostile = titanic.assign(_name=HOSTILE, ticket=HOSTILE, cabin=HOSTILE)
    hostile_metadata = metadata | {
        "version": HOSTILE,
        "created_utc": HOSTILE,
        "git_commit": HOSTILE,
        "parameters": {HOSTILE: HOSTILE},
        "libraries": {HOSTILE: HOSTILE},
        "seconds": {HOSTILE: HOSTILE},
        "checks": [{"name": HOSTILE, "severity": HOSTILE, "passed": False, "detail": HOSTILE}],
        "promotion": {"accepted": False, "reasons": [HOSTILE], "incumbent": HOSTILE, "comparison": HOSTILE},
    }
    page = assert_stands_alone(model_card(hostile_metadata, pipeline, hostile, evaluated.predictions))
    # Three attributes of each of four passengers, the version in title and header, and 14 other values once each.
    assert page.text.count(HOSTILE) == 3 * 4 + 2 + 14


def test_a_screen_reader_can_follow_the_structure(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.tables) >= 9
    for table in page.tables:
        assert table[0] == "caption"
    assert all(header.get("scope") in {"col", "row"} for header in page.all("th"))
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 80 for svg in page.all("svg"))
    assert len(page.all("svg")) == len(page.all("figure")) == len(page.all("figcaption")) == 11
    # Regions that scroll on a phone can be reached by keyboard, and have a name.
    regions = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert len(regions) == len(page.tables)
    assert all(one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in regions)


def test_each_plot_has_its_main_figures_as_text(page: Page, metadata: dict[str, Any]) -> None:
    labels = [svg["aria-label"] for svg in page.all("svg")]
    metrics = metadata["metrics"]
    for split in ("stratified", "grouped"):
        own = next(row for row in metrics["table"] if (row["split"], row["classifier"]) == (split, "model"))
        error = metrics["calibration_summary"][split]["expected_calibration_error"]
        (tn, fp), (fn, tp) = metrics["confusion"][split]["mean"]
        assert sum(f"{split} split: expected calibration error {error:.3f}" in label for label in labels) == 1
        assert sum(f"{split} {own['roc_auc']:.3f} ± {own['roc_auc_spread']:.3f}" in label for label in labels) == 1
        matrix = next(label for label in labels if label.startswith(f"Confusion matrix, {split}"))
        assert re.findall(r"\d+", matrix) == [f"{tp:.0f}", f"{tn:.0f}", f"{fn:.0f}", f"{fp:.0f}"]
    assert sum("sex women and girls: 74 % of 314 survived" in label for label in labels) == 1


def test_metrics_of_model_and_baselines_are_shown_with_their_spread(page: Page, metadata: dict[str, Any]) -> None:
    table = metadata["metrics"]["table"]
    assert {row["classifier"] for row in table} == {evaluation.MODEL, *evaluation.BASELINES}
    for row in table:
        figures = " ".join(f"{row[name]:.3f} ± {row[f'{name}_spread']:.3f}" for name in evaluation.METRICS)
        assert f"{row['classifier']} {figures}" in page.words


def test_limits_of_the_evaluation_are_stated(page: Page) -> None:
    assert "parameters were chosen by trials on all bundled passengers" in page.words
    assert "people who travelled together on several tickets may still be in several folds" in page.words


def test_all_metadata_are_shown(page: Page, metadata: dict[str, Any]) -> None:
    for name in ("version", "fingerprint", "model_sha256", "data_sha256", "code_sha256", "git_commit"):
        assert metadata[name] in page.words
    for name, value in {**metadata["parameters"], **metadata["libraries"]}.items():
        assert f"{name} {value:g}" in page.words if isinstance(value, int | float) else f"{name} {value}" in page.words
    for check in metadata["checks"]:
        assert f"{check['name']} {check['severity']} passed {check['detail']}" in page.words
    assert "Rejected when it was created" in page.words
    assert metadata["promotion"]["reasons"][0] in page.words
    assert "Serving version at that time: 20240131T120000123456Z-1a2b3c4d." in page.words


def test_data_sheet(page: Page) -> None:
    assert "age age number years 20 % 0.42 to 80, median 28" in page.words
    assert "sex sex text 0 % male 577, female 314" in page.words
    assert "passenger_id key, one row each; not used by the model whole number 0 % 1 to 891, median 446" in page.words
    assert "ticket ticket number, shared by people who travel together text 0 % 681 different values" in page.words
    assert "age is missing for 15 % of the survivors and 23 % of the victims" in page.words
    assert "The data hold 891 passengers" in page.words


def test_other_passengers_are_not_described_as_the_bundled_ones(
    titanic: pd.DataFrame, metadata: dict[str, Any], pipeline: Pipeline
) -> None:
    assert metadata["data_sha256"] == card.BUNDLED_DATA_SHA256
    other = Page(model_card(metadata | {"data_sha256": "0" * 64}, pipeline, titanic)).words
    assert "Not the bundled passengers" in other
    assert "Encyclopedia" not in other
    assert "418 passengers" not in other


def test_optional_metadata_may_be_missing(
    titanic: pd.DataFrame, metadata: dict[str, Any], pipeline: Pipeline, html: str
) -> None:
    optional = {"checks", "promotion", "seconds", "git_commit", "fingerprint", "model_sha256"}
    bare = {name: value for name, value in metadata.items() if name not in optional}
    page = assert_stands_alone(model_card(bare, pipeline, titanic))
    assert "No checks are recorded for this version" in page.words
    assert "Held-out prediction:" not in page.words
    assert "of the model that was fitted on them" in page.words
    assert "Held-out prediction:" in Page(html).words


def test_unusual_passengers(titanic: pd.DataFrame, metadata: dict[str, Any]) -> None:
    odd = titanic.head(60).assign(age=math.nan, embarked=None, cabin=None, pclass=3, fare=math.nan, sex="male")
    pipeline = fit(odd[list(ATTRIBUTE_NAMES)], odd["survived"].to_numpy(), Parameters(n_estimators=5))
    page = assert_stands_alone(model_card(metadata, pipeline, odd))
    assert "age age number years 100 % no value" in page.words
    assert "port unknown 60" in page.words


def test_concurrent_rendering_gives_the_same_bytes(
    html: str, metadata: dict[str, Any], pipeline: Pipeline, titanic: pd.DataFrame, evaluated: Evaluation
) -> None:
    def draw(_: int) -> str:
        return model_card(metadata, pipeline, titanic, evaluated.predictions)

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
    plots.importance({"age": 0.5, "fare": 0.25}, "Two features.")
    assert held == [True]


def test_importance_is_the_mean_absolute_contribution(page: Page, pipeline: Pipeline, titanic: pd.DataFrame) -> None:
    features = pipeline["features"].transform(titanic)
    matrix = pipeline["model"].get_booster().predict(xgb.DMatrix(features), pred_contribs=True)[:, :-1]
    means = pd.Series(np.abs(matrix).mean(axis=0), index=pipeline["features"].get_feature_names_out())
    label = next(svg["aria-label"] for svg in page.all("svg") if svg["aria-label"].startswith("Mean absolute"))
    shown = re.findall(r"(\w+) (\d+\.\d\d)", label)
    assert [name for name, _ in shown] == list(means.sort_values(ascending=False).index)
    assert [float(value) for _, value in shown] == pytest.approx(
        means[[name for name, _ in shown]].to_list(), abs=0.006
    )


def test_contributions_shown_add_up(page: Page) -> None:
    labels = [svg["aria-label"] for svg in page.all("svg") if svg["aria-label"].startswith("Contributions for")]
    assert len(labels) == 4
    for label in labels:
        *parts, total = [float(number) for number in re.findall(r"[+-]\d+\.\d\d", label)]
        assert len(parts) == card.CONTRIBUTIONS_SHOWN + 2
        assert sum(parts) == pytest.approx(total, abs=0.05)
        percent = float(re.findall(r"([\d.]+) %", label)[0])
        assert percent == pytest.approx(100 / (1 + math.exp(-total)), abs=0.8)


def test_passengers_are_chosen_by_rule() -> None:
    outcome = [1, 0, 1, 0, 0, 1]
    probability = np.array([0.9, 0.2, 0.05, 0.1, 0.52, 0.9])
    chosen = choose_examples(pd.DataFrame({"survived": outcome}), probability)
    assert [(example.rule, example.position) for example in chosen] == [
        ("the most certain survivor", 0),
        ("the most certain victim", 3),
        ("the most uncertain", 4),
        ("the most wrong", 2),
    ]
    only = choose_examples(pd.DataFrame({"survived": [0, 0]}), np.array([0.5, 0.1]))
    assert [(example.rule, example.position) for example in only] == [
        ("the most certain victim", 1),
        ("the most uncertain", 0),
    ]


def test_examples_are_chosen_by_held_out_predictions(page: Page, titanic: pd.DataFrame, evaluated: Evaluation) -> None:
    stratified = evaluated.predictions[evaluated.predictions["split"] == "stratified"]
    means = stratified.groupby("row")["probability"].mean().sort_index()
    worst = int((means - titanic["survived"]).abs().idxmax())
    assert f"Passenger {titanic.loc[worst, 'passenger_id']} " in page.words
    assert f"Held-out prediction: {100 * means[worst]:.0f} %" in page.words


def test_held_out_probability_needs_a_prediction_of_each_passenger(evaluated: Evaluation) -> None:
    predictions = evaluated.predictions
    assert card.held_out_probability(None, 891) is None
    assert card.held_out_probability(predictions, 892) is None
    assert card.held_out_probability(predictions.head(0), 891) is None
    found = card.held_out_probability(predictions, 891)
    assert found is not None
    rows = predictions[(predictions["split"] == "stratified") & (predictions["row"] == 7)]
    assert len(rows) == 2
    assert found[7] == pytest.approx(rows["probability"].mean())


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


def test_every_column_metric_and_split_is_described(evaluated: Evaluation) -> None:
    assert tuple(card.COLUMN_NOTES) == COLUMN_NAMES
    assert tuple(card.METRIC_NOTES) == tuple(evaluation.METRICS)
    assert set(card.SPLIT_NOTES) == set(evaluated.scores["split"])


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_are_readable_in_both_modes(html: str) -> None:
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6});", block))
        for block in re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    )
    assert set(light) == set(dark) >= {"page", "panel", "ink", *plots.COLORS}
    assert {name: light[name] for name in plots.COLORS} == plots.COLORS
    for mode in (light, dark):
        for text in ("ink", "muted", "first", "second", "good", "bad"):
            assert min(contrast(mode[text], mode["page"]), contrast(mode[text], mode["panel"])) >= 4.5
    used = set(re.findall(r"var\(--([\w-]+)\)", html))
    assert used == {*light, "font"} - ({"panel"} - used)
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()


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
    code = "import sys, workflows.survival.card; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
