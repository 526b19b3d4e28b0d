"""`deploy/compose.yaml` as an engine reads it: the containers of a profile, and what they run."""

import re
import signal
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

import yaml

from support.containers.container import ROOT, Mount, Plan
from support.containers.containerfile import Image

FILE: Final = ROOT / "deploy" / "compose.yaml"
_VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")
_OUTSIDE: Final = "10.89.8.0/24"  # an engine would choose it
_FIRST_DYNAMIC: Final = 128


class Composition:
    """The services of a profile, after the variables were put in."""

    def __init__(self, profile: str, variables: Mapping[str, str] | None = None) -> None:
        text = _VARIABLE.sub(
            lambda found: (variables or {}).get(found[1], found[2]), FILE.read_text()
        )
        self.content: dict[str, Any] = yaml.safe_load(text)
        self.services: dict[str, dict[str, Any]] = {
            name: each
            for name, each in self.content["services"].items()
            if profile in each["profiles"]
        }

    @property
    def subnets(self) -> dict[str, IPv4Network]:
        """The networks; those that other containers are looked for in first."""
        found = {}
        for name, network in self.content["networks"].items():
            pools = (network or {}).get("ipam", {}).get("config", [{"subnet": _OUTSIDE}])
            found[name] = IPv4Network(pools[0]["subnet"])
        return dict(sorted(found.items()))

    def addresses(self) -> dict[str, dict[str, IPv4Address]]:
        """Return the address of each service in each of its networks."""
        given: dict[str, dict[str, IPv4Address]] = {}
        for number, (name, service) in enumerate(self.services.items()):
            networks = service["networks"]
            wanted = networks if isinstance(networks, dict) else dict.fromkeys(networks)
            given[name] = {
                network: IPv4Address(options["ipv4_address"])
                if options
                else self.subnets[network][_FIRST_DYNAMIC + number]
                for network, options in wanted.items()
            }
        return given

    def plan(
        self, name: str, folder: Path, images: Mapping[str, Image], hosts: Mapping[str, str]
    ) -> Plan:
        """Return what an engine would run for a service.

        Args:
            name: The service.
            folder: Has the folders of the volumes, and the files of the secrets.
            images: What the images say of themselves, by the service.
            hosts: The addresses of the others by name.
        """
        service, image = self.services[name], images[name]
        user = service.get("user", image.user)
        uid, _, gid = user.partition(":")
        command = [*service.get("entrypoint", image.entrypoint)]
        command += service.get("command", image.command)
        return Plan(
            name=name,
            command=command,
            environment={**image.environment, **service.get("environment", {})},
            user=(int(uid), int(gid)),
            mounts=[*self._mounts(service, folder), *image.mounts],
            working_dir=service.get("working_dir", image.working_dir),
            is_read_only=service["read_only"],
            hosts=hosts,
            stop_signal=signal.Signals[service.get("stop_signal", "SIGTERM")],
        )

    def health_check(self, name: str) -> list[str] | None:
        """Return the command of a service's health check, if it has one."""
        check = self.services[name].get("healthcheck")
        if check is None:
            return None
        kind, *command = check["test"]
        assert kind == "CMD"
        return command

    def absent_files(self, name: str) -> list[str]:
        """Return the files of the repository that a service mounts and that are not there."""
        sources = [each.split(":")[0] for each in self.services[name].get("volumes", ())]
        return [
            each
            for each in sources
            if each.startswith(".") and Path(each).suffix and not (FILE.parent / each).exists()
        ]

    def _mounts(self, service: dict[str, Any], folder: Path) -> list[Mount]:
        mounts = []
        for each in service.get("tmpfs", ()):
            target, _, options = each.partition(":")
            mounts.append(Mount(target=target, options=options))
        for each in service.get("volumes", ()):
            source, target, *options = each.split(":")
            here = FILE.parent / source if source.startswith(".") else folder / "volumes" / source
            if not here.exists():  # an engine makes an empty folder
                mounts.append(Mount(target=target))
                continue
            mounts.append(Mount(target=target, source=here, is_read_only="ro" in options))
        for each in service.get("secrets", ()):
            file = self.content["secrets"][each]["file"]
            here = folder / Path(file).relative_to("compose")
            mounts.append(Mount(target=f"/run/secrets/{each}", source=here, is_read_only=True))
        return mounts
