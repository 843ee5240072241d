#!/usr/bin/env bash
# Create a virtual environment from a lock file with hashes. Does nothing if it is up to date.
# Usage: stack/setup.sh ENVIRONMENT LOCK_FILE
set -euo pipefail

environment=$1
lock=$2
needed_gib=6

fail() {
    echo "Error: $1" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or 3.12 (with venv) is required but was not found; install it, or set its path: make PYTHON=/path/to/python3.11"
}

stamp="$environment/.installed"
wanted=$(cat "$lock" requirements/bootstrap.lock | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $PWD" ]; then
    exit 0
fi

free_gib=$(($(df -Pk . | awk 'NR == 2 {print $4}') / 1048576))
[ "$free_gib" -ge "$needed_gib" ] || fail "the disk of $PWD has $free_gib GiB free, but the environment requires $needed_gib GiB"

python=$(find_python)
echo "Installing the environment into $environment with $("$python" --version) (about 2.5 GB; a few minutes the first time) ..."
rm -f "$stamp"
[ -x "$environment/bin/python" ] && "$environment/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/bootstrap.lock
# The lock file lists all dependencies, so none are resolved. uv ignores pip's configuration: if only that names a
# reachable package index, fall back to pip.
if ! "$environment/bin/uv" pip install --python "$environment" --no-deps --require-hashes -r "$lock"; then
    echo "uv could not install the packages; trying pip, which is slower ..."
    "$environment/bin/python" -m pip install --disable-pip-version-check --no-deps --require-hashes -r "$lock"
fi
# Make the project's packages importable from any working directory.
"$environment/bin/python" - "$PWD" <<'PYTHON'
import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "mage_workflows.pth").write_text(sys.argv[1] + "\n")
PYTHON
echo "$wanted $PWD" > "$stamp"
