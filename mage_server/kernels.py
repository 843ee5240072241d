"""The kernels of Mage's editor: without the server's secrets, closed to other users, with the changes to the editor.

The server starts each as `python -m mage_server.kernels -f CONNECTION_FILE`.
"""

import os
import secrets
import sys
from typing import Any

# Mage reads them when `mage_ai.settings` is imported, and never again.
SECRET_VARIABLES = ("DEFAULT_OWNER_PASSWORD", "JWT_SECRET")


def install() -> None:
    """Take the secrets out of the environment that kernels and blocks inherit, and close the kernels' ports."""
    import mage_ai.settings  # noqa: F401 - reads the secrets
    from mage_ai.server.kernels import KernelName, kernel_managers

    for name in SECRET_VARIABLES:
        os.environ.pop(name, None)
    # Mage leaves the key empty: any user of the machine could run code through the ports of a kernel.
    for manager in kernel_managers.values():
        manager.session.key = secrets.token_hex(32).encode()
    kernel_managers[KernelName.PYTHON3].kernel_spec.argv = [sys.executable, "-m", __name__, "-f", "{connection_file}"]


def main() -> None:
    """Be a kernel, which imports Mage (200 MB, several seconds) with the first code that it executes."""
    from ipykernel.kernelapp import IPKernelApp

    from mage_server import editor

    def install_once() -> None:
        events.unregister("pre_execute", install_once)
        editor.install()

    kernel: Any = IPKernelApp.instance()
    kernel.initialize()
    events = kernel.shell.events
    events.register("pre_execute", install_once)
    kernel.start()


if __name__ == "__main__":
    main()
