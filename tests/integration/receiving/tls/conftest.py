from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from support.listener import RunningListener
from support.system.certificates import Authority, Certificate
from support.system.ports import free_port

Listen = Callable[..., AbstractContextManager[RunningListener]]


@pytest.fixture(scope="session")
def server_certificate(authority: Authority) -> Certificate:
    """The listener's certificate."""
    return authority.issue("listener")


@pytest.fixture(scope="session")
def client_certificate(authority: Authority) -> Certificate:
    """The certificate of a sender that the listener trusts."""
    return authority.issue("cr1")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the listener does not trust."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture
def mutual(
    listen: Listen, authority: Authority, server_certificate: Certificate
) -> Iterator[RunningListener]:
    """A listener that speaks TLS alone, and wants a certificate of the authority."""
    with listen(
        tls_certificate_file=server_certificate.certificate,
        tls_key_file=server_certificate.key,
        tls_ca_file=authority.certificate,
        acse_seconds=5,
    ) as listener:
        yield listener


@pytest.fixture
def both_ports(listen: Listen, server_certificate: Certificate) -> Iterator[RunningListener]:
    """A listener with a port for plain associations, and one for TLS without certificates."""
    with listen(
        tls_certificate_file=server_certificate.certificate,
        tls_key_file=server_certificate.key,
        tls_port=free_port(),
    ) as listener:
        yield listener
