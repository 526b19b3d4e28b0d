"""The settings of traces: what belongs together, and which jobs are traced."""

import uuid

import pytest
from pydantic import ValidationError

from service.settings import TracingSettings

ENDPOINT = "http://127.0.0.1:4318/v1/traces"
JOB = "7fffffff" + uuid.uuid4().hex[8:]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"endpoint": "http://127.0.0.1:4318"}, "needs the path"),
        ({"endpoint": "http://127.0.0.1:4318/"}, "needs the path"),
        ({"endpoint": "127.0.0.1:4318/v1/traces"}, "must be https://"),
        ({"endpoint": "grpc://127.0.0.1:4317/x"}, "must be https://"),
        ({"endpoint": "http://user:secret@127.0.0.1:4318/v1/traces"}, "must be https://"),
        ({"endpoint": ENDPOINT, "share": 0}, "greater than 0"),
        ({"endpoint": ENDPOINT, "share": 1.5}, "less than or equal to 1"),
        ({"endpoint": ENDPOINT, "ca_file": "a.pem"}, "ca_file needs https://"),
        ({"endpoint": ENDPOINT, "client_key_file": "a"}, "needs a client_certificate_file"),
        ({"bearer_token_file": "token"}, "bearer_token_file needs an endpoint"),
        ({"page": "https://jaeger.example.org/{trace_id}"}, "page needs an endpoint"),
        (
            {"endpoint": "http://192.0.2.1:4318/v1/traces", "bearer_token_file": "token"},
            "can be read in transit",
        ),
        ({"endpoint": ENDPOINT, "page": "https://jaeger.example.org"}, "{trace_id} in it once"),
        ({"endpoint": ENDPOINT, "page": "javascript:{trace_id}"}, "must be https://"),
        ({"endpoint": ENDPOINT, "service_name": "north\nsouth"}, "match pattern"),
    ],
)
def test_a_fault_is_named(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError) as error:
        TracingSettings.model_validate(settings)
    assert fault in str(error.value)


def test_without_an_endpoint_no_job_is_traced() -> None:
    assert TracingSettings().trace_id(JOB) is None
    assert TracingSettings().page_of(JOB) is None


def test_a_job_is_traced_by_its_own_id_and_shown_where_the_page_is() -> None:
    settings = TracingSettings(endpoint=ENDPOINT, page="https://j.example.org/trace/{trace_id}?x")
    assert settings.trace_id(JOB) == JOB
    assert settings.page_of(JOB) == f"https://j.example.org/trace/{JOB}?x"
    assert TracingSettings(endpoint=ENDPOINT).page_of(JOB) is None


@pytest.mark.parametrize(("share", "is_traced"), [(0.5, True), (0.499, False), (1, True)])
def test_the_share_decides_by_the_first_digits(share: float, is_traced: bool) -> None:  # noqa: FBT001
    settings = TracingSettings(endpoint=ENDPOINT, share=share)
    assert (settings.trace_id(JOB) is not None) == is_traced
