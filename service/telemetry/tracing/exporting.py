"""Export the spans of this process to a collector, beside the work and never in its way.

A thread of its own posts what a bounded queue holds. While the collector is down or slow the queue
fills, and then further spans are dropped and counted; nobody waits for it.
"""

import contextlib
import platform
import queue
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import structlog
from google.protobuf.message import DecodeError

from service.dicom.implementation import IMPLEMENTATION_VERSION_NAME, VERSION
from service.errors import EX_TEMPFAIL, ExplainedError
from service.settings import ConfigurationError, TracingSettings, is_bearer_token, read_secret
from service.telemetry.heartbeat import holder_name
from service.telemetry.metrics import TRACE_SPANS
from service.telemetry.structured_log import type_name
from service.telemetry.tracing.otlp import CONTENT_TYPE, encode, rejected_spans
from service.telemetry.tracing.spans import Span, use_sink

MOST_WAITING: Final = 4096  # spans of one process
_BATCH: Final = 512  # spans of one request
_GATHER_SECONDS: Final = 1.0  # from the first span of a request on
_RESPONSE_SECONDS: Final = 5.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_END_SECONDS: Final = 2.0  # for what is left when the process ends
_TO_BE_REPEATED: Final = frozenset({429, 502, 503, 504})  # OTLP 1.3, "Retryable Response Codes"

log = structlog.get_logger()


class CollectorError(ExplainedError):
    """The collector did not take a request; the message says why."""

    exit_status = EX_TEMPFAIL


class Collector:
    """An OTLP receiver over HTTP: the address, how it is trusted, and what it answers.

    Nothing is taken from the environment (proxies, OTEL_ variables), and no redirect is followed.

    Raises:
        ConfigurationError: the token or the certificate authorities cannot be used.
    """

    def __init__(self, settings: TracingSettings) -> None:
        self._endpoint = settings.endpoint or ""
        self._client = httpx.Client(
            headers=_headers(settings),
            verify=_tls(settings),
            timeout=_RESPONSE_SECONDS,
            follow_redirects=False,
            trust_env=False,
        )

    def post(self, request: bytes) -> httpx.Response:
        """Send a request.

        Raises:
            CollectorError: no response came.
        """
        try:
            return self._client.post(self._endpoint, content=request)
        except (httpx.HTTPError, ssl.SSLError) as exc:
            raise CollectorError(type_name(exc)) from exc

    def ask(self) -> str:
        """Send a request without spans, close, and return a sentence about the answer.

        Raises:
            CollectorError: it was not answered with 200.
        """
        try:
            response = self.post(encode((), {}))
        except CollectorError as exc:
            raise CollectorError(
                f"{self._endpoint} does not answer: {exc}. Spans are dropped and counted; nothing "
                "else waits for it."
            ) from exc
        finally:
            self.close()
        if response.status_code != httpx.codes.OK:
            raise CollectorError(f"{self._endpoint} answers {response.status_code}, not 200")
        return f"{self._endpoint} takes spans"

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class SpanExporter:
    """Takes spans of the jobs that are traced, and posts them in a thread of its own."""

    def __init__(
        self, settings: TracingSettings, part: str, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._settings = settings
        self._collector = Collector(settings)
        self._resource = {
            "service.name": settings.service_name,
            "service.version": VERSION,
            "service.instance.id": holder_name(part).rstrip("/"),
            "host.name": platform.node(),
            "lobar.part": part,
        }
        self._spans: queue.Queue[Span | None] = queue.Queue(most_waiting)  # None: it is closed
        self._closing = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def put(self, span: Span) -> None:
        """Take a span, or drop it if too many wait; returns at once."""
        if self._settings.trace_id(span.job_id) is None:
            return
        try:
            self._spans.put_nowait(span)
        except queue.Full:
            TRACE_SPANS.labels(outcome="dropped").inc()

    def close(self, seconds: float = _END_SECONDS) -> None:
        """Export what waits, for so many seconds at most, and drop the rest."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # the thread does not wait for any then
            self._spans.put_nowait(None)
        self._thread.join(seconds)
        TRACE_SPANS.labels(outcome="dropped").inc(len(self._waiting(MOST_WAITING)))

    def _run(self) -> None:
        while batch := self._next_batch():
            self._export(batch)
        self._collector.close()

    def _next_batch(self) -> list[Span]:
        """Wait for spans and return those that came within a second; none when it is closed."""
        while not self._closing.is_set():
            with contextlib.suppress(queue.Empty):
                first = self._spans.get(timeout=_GATHER_SECONDS)
                self._closing.wait(_GATHER_SECONDS)
                if first is not None:
                    return [first, *self._waiting(_BATCH - 1)]
        return self._waiting(_BATCH)

    def _waiting(self, most: int) -> list[Span]:
        spans: list[Span] = []
        with contextlib.suppress(queue.Empty):
            while len(spans) < most:
                span = self._spans.get_nowait()
                if span is not None:
                    spans.append(span)
        return spans

    def _export(self, batch: Sequence[Span]) -> None:
        """Post spans until the collector takes or refuses them, or this process ends."""
        request = encode(batch, self._resource)
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_answered(request, len(batch)):
            if self._closing.wait(pause):
                TRACE_SPANS.labels(outcome="dropped").inc(len(batch))
                return
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _is_answered(self, request: bytes, count: int) -> bool:
        """Post a request and count its spans; return False if it is to be sent again."""
        try:
            response = self._collector.post(request)
        except CollectorError as exc:
            self._note(str(exc))
            return False
        if response.status_code in _TO_BE_REPEATED:
            self._note(f"http-{response.status_code}")
            return False
        refused = _refused(response, count)
        TRACE_SPANS.labels(outcome="exported").inc(count - refused)
        TRACE_SPANS.labels(outcome="refused").inc(refused)
        self._note(f"http-{response.status_code}" if refused else None)
        return True

    def _note(self, fault: str | None) -> None:
        """Log that exporting begins to fail, and that it works again."""
        if fault is not None and not self._is_failing:
            log.warning("spans_not_exported", reason=fault)
        elif fault is None and self._is_failing:
            log.info("spans_exported_again")
        self._is_failing = fault is not None


@contextmanager
def exporting(settings: TracingSettings, part: str) -> Iterator[None]:
    """Export the spans of this process while the block runs.

    Raises:
        ConfigurationError: the token or the certificate authorities cannot be used.
    """
    exporter = SpanExporter(settings, part)
    use_sink(exporter.put)
    try:
        yield
    finally:
        use_sink(None)
        exporter.close()


def _refused(response: httpx.Response, count: int) -> int:
    """Return how many of the spans of a request a collector refused."""
    if response.status_code != httpx.codes.OK:
        return count
    try:
        return min(count, rejected_spans(response.content))
    except DecodeError:  # a collector that answers in words has taken them all the same
        return 0


def _headers(settings: TracingSettings) -> dict[str, str]:
    headers = {"User-Agent": IMPLEMENTATION_VERSION_NAME, "Content-Type": CONTENT_TYPE}
    if settings.bearer_token_file is None:
        return headers
    try:
        token = read_secret(settings.bearer_token_file, "bearer_token_file")
    except ValueError as exc:
        raise ConfigurationError(f"tracing.{exc}.") from None
    if not is_bearer_token(token):  # the message of httpx would quote it
        raise ConfigurationError("tracing.bearer_token_file holds no bearer token.")
    return {**headers, "Authorization": f"Bearer {token}"}


def _tls(settings: TracingSettings) -> ssl.SSLContext:
    if not (settings.endpoint or "").startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, and cheap to make
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as exc:
        raise _unusable("ca_file", settings.ca_file) from exc
    if settings.client_certificate_file is not None:
        try:
            context.load_cert_chain(
                settings.client_certificate_file,
                settings.client_key_file,
                password=lambda: "",  # else OpenSSL would ask for one on a terminal
            )
        except (OSError, ValueError) as exc:
            raise _unusable("client_certificate_file", settings.client_certificate_file) from exc
    return context


def _unusable(setting: str, file: Path | None) -> ConfigurationError:
    return ConfigurationError(f"tracing.{setting} {file} cannot be used: is it PEM, and readable?")
