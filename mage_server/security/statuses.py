"""Leave paths and process ids out of `/api/statuses` for callers who have not signed in."""

import functools
from collections.abc import Callable
from typing import Any

from mage_ai.api.resources.StatusResource import StatusResource

from mage_server.security.users import is_signed_in

# What Mage's sign-in page and the check at start need.
PUBLIC = (
    "disable_pipeline_edit_access",
    "instance_type",
    "is_instance_manager",
    "max_print_output_lines",
    "project_type",
    "require_user_authentication",
    "require_user_permissions",
    "scheduler_status",
)


def install() -> None:
    """Wrap how Mage collects the statuses."""
    StatusResource.collection = classmethod(_reduced(StatusResource.collection.__func__))


def _reduced(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def collection(cls: Any, query: Any, meta: Any, user: Any, **kwargs: Any) -> Any:
        found = original(cls, query, meta, user, **kwargs)
        if not is_signed_in():
            for status in found:
                status.model = {name: value if name in PUBLIC else None for name, value in status.model.items()}
        return found

    return collection
