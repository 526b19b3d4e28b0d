"""Networks of network namespaces, joined by bridges: a stand-in for those of an engine."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from support.system.programs import need_program

_NAMESPACES: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000


class Network:
    """Networks by name, with a host for each process; nothing leads out of them."""

    def __init__(self, prefix: str, subnets: Mapping[str, IPv4Network]) -> None:
        self._prefix = prefix
        self._subnets = dict(subnets)
        self._switch = f"{prefix}-switch"
        self._addresses: dict[str, dict[str, IPv4Address]] = {}
        self._ip = need_program("ip")
        self._script: list[str] = []
        self._add_namespace(self._switch)
        for number, _ in enumerate(self._subnets):
            self._in(self._switch, f"link add br{number} type bridge")
            self._in(self._switch, f"link set br{number} up")

    def add(self, host: str, addresses: Mapping[str, IPv4Address]) -> None:
        """Add a host with an address in each of these networks."""
        namespace = self.namespace(host)
        self._addresses[host] = dict(addresses)
        self._add_namespace(namespace)
        for number, (network, subnet) in enumerate(self._subnets.items()):
            if network not in addresses:
                continue
            here, there = f"eth{number}", f"v{number}-{len(self._addresses)}"
            self._in(namespace, f"link add {here} type veth peer name {there}")
            self._in(namespace, f"link set {there} netns {self._switch}")
            self._in(self._switch, f"link set {there} master br{number}")
            self._in(self._switch, f"link set {there} up")
            self._in(namespace, f"addr add {addresses[network]}/{subnet.prefixlen} dev {here}")
            self._in(namespace, f"link set {here} up")

    def make(self) -> None:
        """Make what was added."""
        subprocess.run(["bash", "-e"], input="\n".join(self._script), text=True, check=True)
        self._script.clear()

    def close(self) -> None:
        """Remove all of it."""
        for namespace in [self._switch, *map(self.namespace, self._addresses)]:
            subprocess.run([self._ip, "netns", "delete", namespace], check=False)

    def namespace(self, host: str) -> str:
        """Return the name of a host's network namespace."""
        return f"{self._prefix}-{host}"

    def address(self, host: str, network: str) -> str:
        """Return the address of a host in a network."""
        return str(self._addresses[host][network])

    def hosts(self, asking: str) -> dict[str, str]:
        """Return the addresses of the hosts that share a network with this one, by name."""
        own = self._addresses[asking]
        return {
            host: str(next(addresses[each] for each in self._subnets if each in shared))
            for host, addresses in self._addresses.items()
            if (shared := own.keys() & addresses.keys())
        }

    def command(self, host: str) -> list[str]:
        """Return the beginning of a command line that runs on a host."""
        return [
            str(need_program("nsenter")),
            f"--net={_NAMESPACES / self.namespace(host)}",
            "--",
        ]

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Open the sockets of this thread on a host, within the `with` block (setns(2))."""
        before = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        there = os.open(_NAMESPACES / self.namespace(host), os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(before)
            os.close(there)
            os.close(before)

    def _add_namespace(self, namespace: str) -> None:
        self._script.append(f"{self._ip} netns add {namespace}")
        self._in(namespace, "link set lo up")

    def _in(self, namespace: str, what: str) -> None:
        self._script.append(f"{self._ip} -netns {namespace} {what}")


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
