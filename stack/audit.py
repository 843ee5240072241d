"""List the known vulnerabilities of the locked environments.

Run as `python -m stack.audit`. Asks the advisory service OSV about each package of each lock.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stack.console import Console
from workflows.common.errors import ServiceError
from workflows.common.settings import REPO_PATH

LOCKS = ("local", "next", "bench")
OSV_URL = "https://api.osv.dev/v1/query"


def main() -> int:
    """Print what is found; exit with 1 if anything is, or if the service cannot be reached."""
    parser = argparse.ArgumentParser(prog="python -m stack.audit", description=__doc__)
    parser.add_argument("--osv-url", default=OSV_URL, help="address of the advisory service")
    arguments = parser.parse_args()
    console = Console()
    return console.run(lambda: _audit(arguments.osv_url, console))


def _audit(osv_url: str, console: Console) -> int:
    found = 0
    for name in LOCKS:
        lock = REPO_PATH / "requirements" / f"{name}.lock"
        problems = list(vulnerabilities(lock, osv_url))
        console.say(f"{lock.relative_to(REPO_PATH)}: {len(problems) or 'no'} known vulnerabilities")
        for problem in problems:
            console.say(f"  {problem}")
        found += len(problems)
    return 1 if found else 0


def vulnerabilities(lock: Path, osv_url: str = OSV_URL) -> Iterator[str]:
    """Yield a line for each known vulnerability of the packages that a lock file installs on this machine.

    Raises:
        ServiceError: the advisory service cannot be reached, so nothing is known.
    """
    # The lock lists all packages: nothing is resolved or installed, and no package index is asked.
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--osv-url", osv_url, "--format", "json", "--progress-spinner", "off"]
    audit = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        packages = json.loads(audit.stdout)["dependencies"]
    except json.JSONDecodeError:
        reason = (audit.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ServiceError(
            f"Nothing is known of {lock.name}: the advisory service at {osv_url} cannot be reached, or pip-audit "
            f"failed. Run make audit on a machine with access to it. pip-audit said: {reason}"
        ) from None
    for package in packages:
        for problem in package.get("vulns", []):
            names = ", ".join([problem["id"], *problem["aliases"]])
            fixed = ", ".join(problem["fix_versions"]) or "no release"
            yield f"{package['name']} {package['version']}: {names}; fixed in {fixed}"


if __name__ == "__main__":
    sys.exit(main())
