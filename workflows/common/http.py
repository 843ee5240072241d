"""HTTP requests with a time limit for the whole, whatever the server sends."""

import asyncio
import ipaddress
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import requests

from workflows.common.errors import InvalidInputError, ServiceError

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
FIRST_DELAY_SECONDS = 0.5


def download(
    url: str,
    *,
    source: str,
    setting: str,
    timeout_seconds: float,
    deadline_seconds: float,
    retries: int,
    max_bytes: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """GET an address and return the body of the answer.

    Args:
        url: Address; no message shows it, since it may hold a key.
        source: What is read, for the messages.
        setting: The variable to correct, for the messages.
        timeout_seconds: For the connection, and between two pieces of the answer.
        deadline_seconds: For everything together: all tries, the waits between them, and the body.
        retries: After connection errors, 429 and 5xx; the waits double, and a Retry-After is honoured.
        max_bytes: Largest body that is read.
        headers: Headers of the request.

    Raises:
        ServiceError: no answer in time, or an error status.
        InvalidInputError: the body is too large.
    """

    async def get() -> bytes:
        # A proxy that the environment names cannot reach this machine's own addresses.
        async with httpx.AsyncClient(
            timeout=timeout_seconds, follow_redirects=True, trust_env=not is_local(url)
        ) as client:
            for attempt in range(retries + 1):
                delay_seconds = FIRST_DELAY_SECONDS * 2**attempt
                try:
                    async with client.stream("GET", url, headers=headers) as response:
                        if response.is_success:
                            return await _read(response, max_bytes, source, setting)
                        problem = f"answered {response.status_code}"
                        is_final = response.status_code not in RETRIED_STATUSES
                        delay_seconds = max(delay_seconds, _retry_after_seconds(response))
                except httpx.TransportError as error:
                    problem, is_final = f"did not answer ({type(error).__name__})", False
                if is_final or attempt == retries:
                    tries = "" if is_final else f" after {retries} retries"
                    raise ServiceError(f"{source} {problem}{tries}; check {setting} and the service behind it")
                await asyncio.sleep(delay_seconds)
        raise AssertionError("unreachable")

    async def get_in_time() -> bytes:
        try:
            async with asyncio.timeout(deadline_seconds):
                return await get()
        except TimeoutError:
            problem = f"did not answer completely within {deadline_seconds:g} s"
        except (httpx.InvalidURL, httpx.HTTPError, ValueError) as error:
            problem = f"cannot be reached ({type(error).__name__})"
        # The error itself is left out: its text holds the address.
        raise ServiceError(f"{source} {problem}; check {setting} and the service behind it")

    # A thread of its own: the calling thread may run an event loop, as the kernel of Mage's editor does.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, get_in_time()).result()


def is_local(url: str) -> bool:
    """Whether an address is of this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def local_get(url: str, timeout_seconds: float) -> requests.Response:
    """GET an address of this machine, without any proxy that the environment names.

    Raises:
        requests.RequestException: no answer.
    """
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=timeout_seconds)


async def _read(response: httpx.Response, max_bytes: int | None, source: str, setting: str) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if max_bytes is not None and len(content) > max_bytes:
            raise InvalidInputError(f"{source} is larger than {max_bytes:,} bytes; check {setting}")
    return bytes(content)


def _retry_after_seconds(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
