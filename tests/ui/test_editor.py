"""What a person does in Mage's UI, in a real browser; where SCREENSHOTS names a folder, pictures are saved there."""

import io
import os
import re
import time
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from stack.launch import Stack
from stack.mage_client import wait_until
from stack.mage_database import PipelineRun
from stack.project_graph import read_graph
from tests.ui.conftest import PAGE_SECONDS, run
from workflows.common.settings import REPO_PATH

GRAPH = read_graph(REPO_PATH)
TAGS = {
    "ingestion": "1-ingest",
    "sql_python_workflow": "2-join",
    "dynamic_blocks_workflow": "3-fan-out",
    "spark_workflow": "4-spark",
    "ml_training_and_inference": "5-train",
    "llm_inference": "6-advise",
}
CHAIN_SECONDS = 240
CLICK_MINUTES = float(os.environ.get("CLICK_MINUTES", "0"))
EDITED = "data_loaders/load_companies.py"

expect.set_options(timeout=1000 * PAGE_SECONDS)


def header(page: Page, block: str) -> Locator:
    """The header of a block in the editor."""
    return page.locator("[class*=BlockHeaderStyle]", has=page.get_by_text(block, exact=True))


def open_editor(page: Page, stack: Stack, pipeline: str, view: str = "tree") -> None:
    page.goto(f"{stack.server.url}/pipelines/{pipeline}/edit?sideview={view}")
    for block in GRAPH.pipelines[pipeline].blocks:
        expect(header(page, block["uuid"])).to_be_visible()
    # The code of the first block is there.
    page.locator(".view-line").first.wait_for()


def run_block(page: Page, block: str) -> None:
    buttons = header(page, block).get_by_role("button")
    # The first button of a custom block chooses its colour.
    buttons.nth(1 if block == "refresh_core_users" else 0).click()


def shoot(page: Page, name: str) -> None:
    """Save a picture of at most 256 colours where SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.mouse.move(0, 0)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(256)
        picture.save(Path(folder) / f"{name}.png", optimize=True)


def test_the_list_of_pipelines_shows_their_order(page, stack):
    page.goto(f"{stack.server.url}/pipelines")
    for pipeline, tag in TAGS.items():
        row = page.get_by_role("row", name=re.compile(rf"\b{pipeline}\b")).filter(has_text=tag)
        expect(row).to_be_visible()
    if os.environ.get("SCREENSHOTS"):
        open_editor(page, stack, "ml_training_and_inference")
        expect(page.get_by_text("requirements.txt")).to_be_visible()
        # The first graph that is opened is made to fit; later ones keep the scale.
        expect(page.get_by_text("100%", exact=True)).to_have_count(0)
        shoot(page, "pipeline_editor")


@pytest.mark.parametrize("pipeline", TAGS)
def test_a_pipeline_opens_with_a_text_about_it(page, stack, pipeline):
    open_editor(page, stack, pipeline)
    for question in ("does", "inputs", "runs", "if it fails"):
        expect(page.get_by_role("cell", name=question, exact=True)).to_be_visible()


def test_a_block_without_input_says_what_to_run(page, stack):
    open_editor(page, stack, "dynamic_blocks_workflow")
    run_block(page, "create_items")
    expect(page.get_by_text("run the blocks above first (plan_items)").first).to_be_visible()


def test_blocks_show_their_output_and_a_chart(page, stack):
    open_editor(page, stack, "ingestion", "charts")
    for count, block in enumerate(("load_companies", "round_employee_count"), start=1):
        run_block(page, block)
        expect(page.get_by_text("12 rows x 11 columns")).to_have_count(count)
    expect(page.locator("svg").get_by_text("Aerospace")).to_be_visible()
    shoot(page, "block_output")


def test_a_trained_model_shows_its_card_and_charts(page, stack):
    wait_until(lambda: any(run.status == "completed" for run in stack.database.runs("llm_inference")), CHAIN_SECONDS)
    page.goto(f"{stack.server.url}/pipeline-runs")
    expect(page.get_by_text("llm_inference").first).to_be_visible()
    shoot(page, "pipeline_runs")
    open_editor(page, stack, "ml_training_and_inference", "charts")
    # One after the other: an output that appears moves the buttons below it.
    for block, shown in {
        "refresh_core_users": "fresh_until",
        "core_users": "891 rows x 14 columns",
        "prepare_passengers": "891 rows x 12 columns",
        "train_survival_model": "model_status",
    }.items():
        run_block(page, block)
        expect(page.get_by_text(shown).first).to_be_visible()
    expect(page.get_by_text("observed", exact=True).first).to_be_visible()
    run_block(page, "document_survival_model")
    card = page.frame_locator("iframe").get_by_text("Calibration").first
    expect(card).to_be_visible()
    page.locator("iframe").first.evaluate("frame => frame.scrollIntoView()")
    shoot(page, "model_card")


def test_a_form_starts_a_run(page, stack):
    page.goto(f"{stack.server.url}/pipelines/dynamic_blocks_workflow/triggers")
    page.get_by_text("Create trigger with no-code").click()
    page.get_by_text("Schedule", exact=True).click()
    page.get_by_placeholder("Name this trigger").fill("two_facts")
    page.get_by_role("combobox").select_option("@once")
    page.get_by_role("button", name="Next: Customize").click()
    page.get_by_role("spinbutton").fill("2000")
    page.get_by_role("button", name="Next: Review").click()
    active = page.get_by_text("Set trigger to be active immediately after creating")
    active.locator("xpath=preceding::input[1]/..").click()
    page.get_by_role("button", name="Create trigger").click()

    def run() -> PipelineRun | None:
        runs = stack.database.runs("dynamic_blocks_workflow")
        return next((run for run in runs if run.trigger == "two_facts" and run.has_ended), None)

    ended = wait_until(run, CHAIN_SECONDS)
    assert ended.status == "completed"
    items = {block.block for block in ended.blocks if block.block.startswith("generate_fun_fact:")}
    assert items == {"generate_fun_fact:item_1", "generate_fun_fact:item_2"}


@pytest.mark.skipif(CLICK_MINUTES == 0, reason="CLICK_MINUTES says for how long")
@pytest.mark.timeout(60 * CLICK_MINUTES + 600)
def test_clicking_around_changes_no_file(page, stack, project):
    ends_at = time.monotonic() + 60 * CLICK_MINUTES
    while time.monotonic() < ends_at:
        for pipeline, details in GRAPH.pipelines.items():
            open_editor(page, stack, pipeline)
            page.locator(".view-line").first.click()
            page.keyboard.press("Control+s")
            run_block(page, details.blocks[0]["uuid"])
            for view in ("triggers", "runs", "logs", "monitors", "settings"):
                page.goto(f"{stack.server.url}/pipelines/{pipeline}/{view}")
                expect(page.get_by_text(pipeline).first).to_be_visible()
            assert run("git", "status", "--porcelain", cwd=project) == "", pipeline
        for path in ("overview", "pipelines", "triggers", "global-data-products", "templates", "files", "settings"):
            page.goto(f"{stack.server.url}/{path}")
            page.wait_for_load_state()
        assert run("git", "status", "--porcelain", cwd=project) == ""


def test_a_changed_line_is_all_that_git_sees(page, stack, project):
    open_editor(page, stack, "ingestion")
    page.locator(".view-line", has_text="settings = ").first.click()
    page.keyboard.press("End")
    # At once: Mage sets the editor's text anew while a busy browser types, and what is typed next goes to the end.
    page.keyboard.insert_text("  # changed")
    run_block(page, "load_companies")
    expect(page.get_by_text("12 rows x 11 columns").first).to_be_visible()
    page.keyboard.press("Control+s")
    wait_until(lambda: run("git", "diff", "--name-only", cwd=project), PAGE_SECONDS)
    expect(page.get_by_text("Unsaved changes")).to_have_count(0)
    assert run("git", "status", "--porcelain", cwd=project) == f" M {EDITED}\n"
    assert run("git", "diff", "--numstat", cwd=project).split() == ["1", "1", EDITED]
