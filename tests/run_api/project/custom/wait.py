import time
from pathlib import Path

from workflows.common.time_limit import remaining_seconds

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def wait(*args, **kwargs):
    if kwargs.get("seconds") == "none":
        return {"may_wait": remaining_seconds()}
    if "started" in kwargs:
        Path(kwargs["started"]).touch()
    time.sleep(kwargs.get("seconds", 0))
    return {"waited": kwargs.get("seconds", 0)}
