"""Confine Mage's file browser and file API to the project; they read and write any file of this machine otherwise."""

import functools
import os
import sys
import urllib.parse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from mage_ai.api.errors import ApiError
from mage_ai.api.resources.BrowserItemResource import BrowserItemResource
from mage_ai.api.resources.FileResource import FileResource
from mage_ai.api.resources.FolderResource import FolderResource
from mage_ai.data_preparation.models import file as file_module
from mage_ai.data_preparation.models.errors import FileNotInProjectError

from mage_server.security.confinement import is_confined, is_secret_file

Check = Callable[[str], None]


def install(project: Path, excluded: Collection[Path]) -> None:
    """Wrap what Mage's API does with paths of callers.

    Args:
        project: Folder of the project.
        excluded: Folders that hold state and secrets.
    """
    root, without = project.resolve(), [folder.resolve() for folder in excluded]

    def check(path: str) -> None:
        if not is_confined(path, root, without) or is_secret_file(path):
            message = "This path is not in the project directory."
            raise ApiError({**ApiError.RESOURCE_INVALID, "message": message})

    _replace(file_module.ensure_file_is_in_project, _for_files(root, without))
    FileResource.get_model = classmethod(_with_checked_model(FileResource.get_model.__func__, check))
    FolderResource.member = classmethod(_with_checked_folder(FolderResource.member.__func__, check))
    items = BrowserItemResource
    items.get_model = classmethod(_with_checked_key(items.get_model.__func__, check))
    items.create = classmethod(_with_checked_payload(items.create.__func__, check))
    items.update = _with_checked_payload(items.update, check)
    items.collection = classmethod(_with_checked_collection(items.collection.__func__, check))


def _for_files(root: Path, without: Collection[Path]) -> Check:
    original = file_module.ensure_file_is_in_project

    @functools.wraps(original)
    def ensure_file_is_in_project(file_path: str) -> None:
        original(file_path)
        if not is_confined(file_path, root, without) or is_secret_file(file_path):
            raise FileNotInProjectError(f"{Path(file_path).name} is not in the project directory.")

    return ensure_file_is_in_project


def _replace(original: Any, replacement: Any) -> None:
    """Replace a function also in the modules that imported it by name."""
    for module in [module for name, module in sys.modules.copy().items() if name.startswith("mage_ai.")]:
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, replacement)


def _with_checked_model(original: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_model(cls: Any, pk: str, **kwargs: Any) -> Any:
        model = original(cls, pk, **kwargs)
        check(model.file_path)
        return model

    return get_model


def _with_checked_folder(original: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @functools.wraps(original)
    def member(cls: Any, pk: str, user: Any, **kwargs: Any) -> Any:
        resource = original(cls, pk, user, **kwargs)
        check(str(resource.model["path"] or ""))
        return resource

    return member


def _with_checked_key(original: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_model(cls: Any, pk: str, **kwargs: Any) -> Any:
        check(urllib.parse.unquote(pk))
        return original(cls, pk, **kwargs)

    return get_model


def _with_checked_payload(original: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @functools.wraps(original)
    async def write(self: Any, payload: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if "path" in payload:
            check(str(payload["path"]))
        # Renaming takes the new name as a path.
        if os.sep in str(payload.get("name") or ""):
            check(str(payload["name"]))
        return await original(self, payload, *args, **kwargs)

    return write


def _with_checked_collection(original: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @functools.wraps(original)
    async def collection(cls: Any, query: dict[str, Any], meta: Any, user: Any, **kwargs: Any) -> Any:
        for directory in query.get("directory") or []:
            if directory:
                check(str(directory))
        for paths in query.get("paths") or []:
            for path in str(paths or "").split(","):
                if path.strip():
                    check(path.strip())
        found = await original(cls, query, meta, user, **kwargs)
        found.data = [item for item in found if _passes(check, item.model.path)]
        return found

    return collection


def _passes(check: Check, path: str) -> bool:
    try:
        check(path)
    except ApiError:
        return False
    return True
