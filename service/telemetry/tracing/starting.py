"""Begin to export spans in a part, where that is configured; else load nothing of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from service.settings import ConfigurationError, TracingSettings


@contextmanager
def spans_exported(settings: TracingSettings, part: str) -> Iterator[None]:
    """Export the spans of this process while the block runs, if there is an endpoint.

    It starts a thread: begin it after whatever is forked.

    Raises:
        ConfigurationError: tracing cannot be used as it is configured.
    """
    if settings.endpoint is None:
        yield
        return
    with load_exporting().exporting(settings, part):
        yield


def load_exporting() -> ModuleType:
    """Load the module that exports, with the libraries that only it needs.

    Raises:
        ConfigurationError: they are not installed.
    """
    try:
        from service.telemetry.tracing import exporting  # noqa: PLC0415 -- not unless it is used
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in {"opentelemetry", "google"}:
            raise
        raise ConfigurationError(
            "tracing.endpoint needs the extra otel: pip install 'lobar[otel]'."
        ) from exc
    return exporting
