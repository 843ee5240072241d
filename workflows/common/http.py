"""HTTP requests with a time limit for the whole, whatever the server sends."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import requests
from anyio.from_thread import start_blocking_portal

from workflows.common.errors import InvalidInputError, MissingAddressError, ServiceError
from workflows.common.proxies import through_proxy

# It logs the whole address of each request, and an address may hold a key or a password.
logging.getLogger("httpx").setLevel(logging.WARNING)

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
FIRST_DELAY_SECONDS = 0.5


@dataclass(frozen=True)
class Answer:
    """A successful answer: its body, its headers (names in lower case), and the address of `Link: rel="next"`."""

    content: bytes | bytearray
    headers: Mapping[str, str] = field(default_factory=dict)
    next_link: str | None = None


Get = Callable[[str], Answer]


@contextlib.contextmanager
def requests_to(
    url: str,
    *,
    source: str,
    setting: str,
    timeout_seconds: float,
    deadline_seconds: float,
    retries: int,
    max_bytes: int | None = None,
    headers: Mapping[str, str] | None = None,
    headers_setting: str | None = None,
) -> Iterator[Get]:
    """Yield a function that GETs an address, all over one connection and with one time limit.

    Args:
        url: The first address; no message shows it, since it may hold a key.
        source: What is read, for the messages.
        setting: The variable to correct, for the messages.
        timeout_seconds: For the connection, and between two pieces of an answer.
        deadline_seconds: For everything together: all addresses, tries, the waits between them, and the bodies.
        retries: Of one address after connection errors, 429 and 5xx; the waits double, and a Retry-After is honoured.
        max_bytes: Largest body that is read.
        headers: Headers of the requests; only the origin of the first address gets them.
        headers_setting: The variable that holds the headers, for the messages.

    The function raises:
        ServiceError: no answer in time, or an error status (MissingAddressError where it is 404).
        InvalidInputError: the body is too large.
    """
    ends_at = time.monotonic() + deadline_seconds
    scheme, host, port = _origin(url)
    # A redirection from http to https of the same host is safer than what was asked for.
    origins = {(scheme, host, port)} | ({("https", host, 443)} if port == 80 else set())
    through = through_proxy(url)

    async def keep_secrets(request: httpx.Request) -> None:
        if _origin(str(request.url)) not in origins:
            for name in headers or {}:
                request.headers.pop(name, None)

    async def get(client: httpx.AsyncClient, url: str) -> Answer:
        for attempt in range(retries + 1):
            delay_seconds = FIRST_DELAY_SECONDS * 2**attempt
            error: type[ServiceError] = ServiceError
            try:
                async with client.stream("GET", url, headers=headers) as response:
                    if response.is_success:
                        content = await _read(response, max_bytes, source, setting)
                        return Answer(content, dict(response.headers), response.links.get("next", {}).get("url"))
                    problem = f"answered {response.status_code}"
                    if response.status_code in (401, 403) and headers_setting:
                        problem += f", check the key in {headers_setting}"
                    if response.status_code == httpx.codes.NOT_FOUND:
                        error = MissingAddressError
                    is_final = response.status_code not in RETRIED_STATUSES
                    delay_seconds = max(delay_seconds, _retry_after_seconds(response))
            except httpx.UnsupportedProtocol:
                problem, is_final = "cannot be asked: its address has to begin with http:// or https://", True
            except httpx.TransportError as caught:
                problem, is_final = f"did not answer ({type(caught).__name__}{through})", False
            if is_final or attempt == retries:
                tries = "" if is_final else f" after {retries} {'retry' if retries == 1 else 'retries'}"
                raise error(f"{source} {problem}{tries}; check {setting} and the service behind it")
            await asyncio.sleep(delay_seconds)
        raise AssertionError("unreachable")

    async def get_in_time(client: httpx.AsyncClient, url: str) -> Answer:
        try:
            async with asyncio.timeout(ends_at - time.monotonic()):
                return await get(client, url)
        except TimeoutError:
            problem = f"did not answer completely within {deadline_seconds:g} s"
        except (httpx.InvalidURL, httpx.HTTPError, ValueError) as error:
            problem = f"cannot be reached ({type(error).__name__}{through})"
        # The error itself is left out: its text holds the address.
        raise ServiceError(f"{source} {problem}; check {setting} and the service behind it")

    client = httpx.AsyncClient(timeout=timeout_seconds, follow_redirects=True, event_hooks={"request": [keep_secrets]})
    # An event loop in a thread of its own: the calling thread may run one, as the kernel of Mage's editor does.
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        yield lambda url: portal.call(get_in_time, client, url)


def download(url: str, **options: object) -> bytes:
    """GET one address and return the body of the answer; see `requests_to` for the options and errors."""
    with requests_to(url, **options) as get:  # type: ignore[arg-type]
        return bytes(get(url).content)


def local_get(url: str, timeout_seconds: float, key: str | None = None) -> requests.Response:
    """GET an address of this machine, with a key if it asks for one, without any proxy that the environment names.

    Raises:
        requests.RequestException: no answer.
    """
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {key}"} if key else None
        return session.get(url, headers=headers, timeout=timeout_seconds)


def _origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an address (RFC 6454); empty where it is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None


async def _read(response: httpx.Response, max_bytes: int | None, source: str, setting: str) -> bytes | bytearray:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if max_bytes is not None and len(content) > max_bytes:
            raise InvalidInputError(f"{source} is larger than {max_bytes:,} bytes; check {setting}")
    return content


def _retry_after_seconds(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
