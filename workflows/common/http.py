"""HTTP requests with a time limit for the whole, whatever the server sends."""

import time

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from workflows.common.errors import InvalidInputError, ServiceError

CHUNK_BYTES = 65_536


def download(
    url: str,
    *,
    source: str,
    setting: str,
    timeout_seconds: float,
    deadline_seconds: float,
    retries: int,
    max_bytes: int | None = None,
    accept: str = "*/*",
) -> bytes:
    """GET an address and return the body of the answer.

    Args:
        url: Address; no message shows it, since it may hold a key.
        source: What is read, for the messages.
        setting: The variable to correct, for the messages.
        timeout_seconds: For the connection, and between two pieces of the answer.
        deadline_seconds: For the body of the answer.
        retries: After connection errors, 429 and 5xx; the waits double, and a Retry-After is honoured.
        max_bytes: Largest body that is read.
        accept: Content type that is asked for.

    Raises:
        ServiceError: no answer, an error status, or a body that took too long.
        InvalidInputError: the body is too large.
    """
    retry = Retry(
        total=retries,
        backoff_factor=0.5,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET",),
        raise_on_status=False,
    )
    deadline = time.monotonic() + deadline_seconds
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            with session.get(url, timeout=timeout_seconds, headers={"Accept": accept}, stream=True) as response:
                if not response.ok:
                    raise ServiceError(
                        f"{source} answered {response.status_code} after {retries} retries; "
                        f"check {setting} and the service behind it"
                    )
                content = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    content += chunk
                    if max_bytes is not None and len(content) > max_bytes:
                        raise InvalidInputError(f"{source} is larger than {max_bytes:,} bytes; check {setting}")
                    if time.monotonic() > deadline:
                        raise ServiceError(f"{source} took longer than {deadline_seconds:g} s to answer")
                return bytes(content)
    except (requests.RequestException, ValueError) as error:
        # The exception's own text holds the address.
        raise ServiceError(
            f"{source} did not answer ({type(error).__name__}) after {retries} retries; "
            f"check {setting} and the service behind it"
        ) from None


def local_get(url: str, timeout_seconds: float) -> requests.Response:
    """GET an address of this machine, past any proxy that the environment names.

    Raises:
        requests.RequestException: no answer.
    """
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=timeout_seconds)
