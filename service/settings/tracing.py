"""The section of OpenTelemetry traces."""

from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from service.settings.loopback import is_loopback
from service.settings.secrets import SecretFile
from service.settings.sections import Section
from service.settings.types import require_trace_page, require_web_url

_OF_TLS: Final = ("ca_file", "client_certificate_file", "client_key_file")
_OF_ENDPOINT: Final = (*_OF_TLS, "bearer_token_file", "page")


def require_endpoint(value: str) -> str:
    """Require the address that spans are posted to, with its path (OTLP 1.3, OTLP/HTTP Request)."""
    address = require_web_url(value)
    if not urlsplit(address).path:
        raise ValueError("needs the path of traces too, which is /v1/traces at most collectors")
    return address


class TracingSettings(Section):
    """Where spans are exported to; without an endpoint there are none."""

    endpoint: Annotated[str, AfterValidator(require_endpoint)] | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 1
    service_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] = "lobar"
    bearer_token_file: SecretFile | None = None
    ca_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: SecretFile | None = None
    page: Annotated[str, AfterValidator(require_trace_page)] | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.client_key_file is not None and self.client_certificate_file is None:
            raise ValueError("client_key_file needs a client_certificate_file")
        endpoint = self.endpoint or ""
        wanted, names = ("an endpoint", _OF_ENDPOINT) if not endpoint else ("https://", _OF_TLS)
        for name in names:
            if getattr(self, name) is not None and not endpoint.startswith("https:"):
                raise ValueError(f"{name} needs {wanted}")
        return self

    @model_validator(mode="after")
    def _token_stays_secret(self) -> Self:
        if self.endpoint is None or self.endpoint.startswith("https:"):
            return self
        elsewhere = not is_loopback(urlsplit(self.endpoint).hostname or "")
        if self.bearer_token_file is not None and elsewhere:
            raise ValueError("a bearer token over http:// can be read in transit: use https://")
        return self

    def trace_id(self, job_id: str) -> str | None:
        """Return the id of the trace of a job, which is the job's; None if it is not traced.

        A trace id is 32 hexadecimal digits (W3C Trace Context 3.2.2.3), and so is a job's id. Every
        process decides the same about a job, by digits that are random.
        """
        if self.endpoint is None or int(job_id[:8], 16) >= self.share * (1 << 32):
            return None
        return job_id

    def page_of(self, job_id: str) -> str | None:
        """Return the address of the page that shows the trace of a job; None if there is none."""
        trace_id = self.trace_id(job_id)
        if trace_id is None or self.page is None:
            return None
        return self.page.replace("{trace_id}", trace_id)
