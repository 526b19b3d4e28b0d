"""FastAPI's own telemetry, switched off: its spans hold paths and queries, which name patients."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # versions that have none take the option all the same
    from fastapi.telemetry import TelemetryConfig

NO_TELEMETRY: Final["TelemetryConfig"] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""Nothing of FastAPI's, whatever OTEL_ and FASTAPI_OTEL_ variables say."""
