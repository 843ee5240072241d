import csv
import io

import pytest

from mage_server.editor import as_text, without_formulas
from workflows.common.html import SANDBOXED_FRAME, sandboxed_frame

SCRIPT = "<script>steal()</script>"


@pytest.mark.parametrize(
    "text", [SCRIPT, "<img src=x onerror=steal()>", "</td><b>", "<!-- -->", "<?xml?>", "a<SVG onload=steal()", "<a"]
)
def test_no_tag_begins_in_a_text(text):
    assert as_text(text) == text.replace("<", "&lt;")
    assert as_text([[1, text, {text: [text]}]]) == [[1, as_text(text), {as_text(text): [as_text(text)]}]]


@pytest.mark.parametrize("value", ["a < b", "1<2", "x <= y", "<3", "R&D", "", 7, 1.5, None, True])
def test_what_is_no_tag_stays(value):
    assert as_text(value) == value


def test_a_page_in_a_sandboxed_frame_stays_and_nothing_that_looks_like_one():
    frame = sandboxed_frame(f'<h1 title="x">{SCRIPT}</h1>', 'a "title" <b>')
    assert as_text(frame) == frame
    assert "<script" not in frame
    for other in (
        frame + SCRIPT,
        frame.replace(" sandbox ", ' sandbox="allow-scripts" '),
        frame.replace(" title=", " onload=steal() title="),
        frame.replace("border: 0", "border: 0; position: fixed; inset: 0"),
        '<div><iframe sandbox title="x" srcdoc=""><script>steal()</script>" style=""></iframe></div>',
    ):
        assert not SANDBOXED_FRAME.fullmatch(other)
        assert "<" not in as_text(other)


@pytest.mark.parametrize(
    "cell", ["=1+2", '=HYPERLINK("http://x","y")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1"]
)
def test_a_formula_becomes_a_text(cell):
    assert rows(without_formulas(lines([["name", "x"], [cell, "1"]]))) == [["name", "x"], [f"'{cell}", "1"]]


@pytest.mark.parametrize(
    "cell", ["-5", "+5", "-1.5e-07", "-.5", "-inf", "1", "text", "a=b", "", "line\n=1", 'a "quote", and more']
)
def test_numbers_and_other_texts_stay(cell):
    table = lines([["name", "x"], [cell, "1"], ["last", "2"]])
    assert without_formulas(table) == table


def test_what_ends_a_line_only_for_a_spreadsheet_begins_a_cell_too():
    assert rows(without_formulas(["name", "text\r=1+2"])) == [["name"], ["text"], ["'=1+2"]]


def test_the_name_of_a_column_is_a_text_too():
    assert without_formulas(["=1+2,b", "1,2"]) == ["'=1+2,b", "1,2"]


def lines(table: list[list[str]]) -> list[str]:
    """Return a table as Mage gives it to a download: lines, which the end of a line in a cell parts too."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().strip("\n").split("\n")


def rows(table: list[str]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("\n".join(table), newline="")))
