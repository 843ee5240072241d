"""What every workflow needs: settings, errors, files, the warehouse, processes, and the one module that asks Mage."""

from workflows.common import proxies, redaction

# Here, because every process that has a secret imports this package: server, scheduler, workers, services, kernels.
redaction.install()
proxies.exempt_this_machine()
