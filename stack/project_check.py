"""Find mistakes in the project's files and settings before anything starts: file, line and reason of each."""

import ast
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from dotenv.parser import parse_stream

from mage_server.schedules import INTERVALS, is_schedule
from stack.env_example import MAGE_VARIABLES
from stack.mage_process import StackError
from stack.project_graph import FOLDER_OF_SHOWN_TYPE, FOLDER_OF_TYPE
from workflows.ai_blocks.prompts import load_prompt
from workflows.common.errors import WorkflowError
from workflows.common.settings import ENV_FILE, REPO_PATH, Settings, get_settings
from workflows.spark_workflow.java import find_java

PROJECT_FILES = ("metadata.yaml", "io_config.yaml", "global_data_products.yaml")


def check_project(project: Path = REPO_PATH, env_file: Path = ENV_FILE) -> None:
    """Check settings, YAML, schedules and the Python source of blocks, in a second.

    Raises:
        StackError: lists every mistake, a line each.
        pydantic.ValidationError: a setting has a wrong value.
    """
    get_settings()
    mistakes = [
        *_env_mistakes(env_file),
        *_yaml_mistakes(project),
        *_python_mistakes(project),
        *_prompt_mistakes(project),
    ]
    mistakes += _spark_mistakes(get_settings())
    if mistakes:
        raise StackError("Nothing was started:\n  " + "\n  ".join(mistakes))


def _env_mistakes(env_file: Path) -> Iterator[str]:
    """Yield the lines of `.env` that are no assignment, or whose name is one of ours misspelt.

    Other names may be meant for Mage or for blocks of the user's own.
    """
    if not env_file.is_file():
        return
    known = {*map(str.upper, Settings.model_fields), *MAGE_VARIABLES}
    known |= {f"{name}_FILE" for name in known}
    with env_file.open(encoding="utf-8") as stream:
        for binding in parse_stream(stream):
            place = f"{env_file.name}, line {binding.original.line}"
            if binding.error:
                yield f"{place}: is no assignment NAME=value"
            elif binding.key is not None and binding.key not in known:
                nearest = get_close_matches(binding.key.upper(), known, n=1, cutoff=0.8)
                yield from (f"{place}: {binding.key} is unknown; did you mean {name}?" for name in nearest)


def _yaml_mistakes(project: Path) -> Iterator[str]:
    paths = [project / name for name in PROJECT_FILES]
    for path in [*paths, *sorted(project.glob("pipelines/*/*.yaml"))]:
        place = path.relative_to(project)
        try:
            content = yaml.safe_load(_without_templates(path.read_text(encoding="utf-8")))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            yield f"{place}, line {mark.line + 1 if mark else '?'}: {error.problem or error.context}"
            continue
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            yield f"{place}: cannot be read ({type(error).__name__})"
            continue
        if path.name == "triggers.yaml":
            yield from _trigger_mistakes(path, str(place), content)
        elif path.name == "metadata.yaml" and path != project / path.name:
            yield from _pipeline_mistakes(str(place), content)


def _trigger_mistakes(path: Path, place: str, content: Any) -> Iterator[str]:
    triggers = content.get("triggers") if isinstance(content, dict) else None
    if not isinstance(triggers, list) or not all(isinstance(one, dict) and one.get("name") for one in triggers):
        yield f"{place}: has to hold a list of triggers with names"
        return
    for trigger in triggers:
        interval = trigger.get("schedule_interval")
        if trigger.get("schedule_type") == "time" and not is_schedule(interval):
            line = _line_of(path, f"{interval}") if interval else "?"
            yield (
                f"{place}, line {line}: schedule_interval {interval!r} of trigger {trigger['name']} is neither a cron "
                f"expression of five fields nor one of {', '.join(INTERVALS)}"
            )


def _pipeline_mistakes(place: str, content: Any) -> Iterator[str]:
    blocks = content.get("blocks") if isinstance(content, dict) else None
    if not isinstance(blocks, list) or not all(isinstance(one, dict) and one.get("uuid") for one in blocks):
        yield f"{place}: has to hold a list of blocks with uuids"
        return
    names = {block["uuid"] for block in blocks}
    for block in blocks:
        for upstream in block.get("upstream_blocks") or []:
            if upstream not in names:
                yield f"{place}: block {block['uuid']} has the upstream block {upstream}, which the pipeline lacks"


def _python_mistakes(project: Path) -> Iterator[str]:
    for folder in (*FOLDER_OF_TYPE.values(), *FOLDER_OF_SHOWN_TYPE.values()):
        for path in sorted((project / folder).glob("*.py")):
            try:
                ast.parse(path.read_text(encoding="utf-8"))
            except SyntaxError as error:
                yield f"{path.relative_to(project)}, line {error.lineno}: {error.msg}"
            except (OSError, UnicodeDecodeError) as error:
                yield f"{path.relative_to(project)}: cannot be read ({type(error).__name__})"


def _prompt_mistakes(project: Path) -> Iterator[str]:
    for path in sorted((project / "prompts").glob("*.yaml")):
        try:
            load_prompt(path.stem, path.parent)
        except WorkflowError as error:
            yield str(error)


def _spark_mistakes(settings: Settings) -> Iterator[str]:
    if settings.spark_home is not None and not (settings.spark_home.expanduser() / "bin" / "spark-class").is_file():
        yield f"SPARK_HOME: there is no bin/spark-class in {settings.spark_home}; unset it to use the bundled Spark"
    if settings.spark_remote is None:
        try:
            find_java(settings)
        except WorkflowError as error:
            yield str(error)


def _without_templates(text: str) -> str:
    """Return YAML in which Mage's `{{ env_var(...) }}` is a text, as Mage renders it first."""
    return text.replace("{{", "__").replace("}}", "__")


def _line_of(path: Path, text: str) -> int | str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, start=1) if text in line), "?")
