"""Which schedules Mage understands."""

from mage_ai.shared.croniter import croniter

# Intervals of triggers that are no cron expressions.
INTERVALS = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@always_on")


def is_schedule(interval: object) -> bool:
    """Whether Mage can run a trigger at this interval; with another, it reads none of any pipeline's triggers."""
    return interval in INTERVALS or (isinstance(interval, str) and croniter.is_valid(interval))
