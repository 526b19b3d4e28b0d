"""The profile full of `deploy/compose.yaml`, each container a process on a network of its own."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from service.dispatch.embedded_redis import redis_program
from support.containers.composition import Composition
from support.containers.container import (
    ROOT,
    Container,
    Mount,
    wait_until_healthy,
)
from support.containers.containerfile import Image, image
from support.containers.network import Network
from support.lobar_process import NOT_REQUIRED, folder_that_hides
from support.system.programs import find_program, missing, need_program

HOST_NAME: Final = "lobar.example.org"
CLIENT: Final = "client"
PATH: Final = "/opt/lobar/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
OHIF: Final = ROOT / ".cache" / "ohif" / "dist"
# what the volumes of the images belong to; of Lobar's it is the account of the image
OWNERS: Final = {"lobar": 10001, "orthanc": 0, "prometheus": 65534, "alertmanager": 65534}
# of Debian, at the places of those in the images
PROGRAMS: Final[dict[str, dict[str, Callable[[], Path | None]]]] = {
    "valkey": {"valkey-server": redis_program, "valkey-cli": lambda: need_program("redis-cli")},
    "alertmanager": {"alertmanager": lambda: find_program("prometheus-alertmanager")},
}
# What the image of PostgreSQL does before its command. Its own script is not there.
POSTGRES_START: Final = """
export PGDATA=/var/lib/postgresql/data
initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
echo "host all all all scram-sha-256" >>$PGDATA/pg_hba.conf
echo "CREATE DATABASE $POSTGRES_DB;" | postgres --single -j postgres
exec "$@" -c listen_addresses='*'
"""


class Running:
    """The containers of a profile that this machine has programs for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.composition = Composition("full", {"PAGES_NAME": HOST_NAME})
        self.network = Network(f"lobar{os.getpid()}", self.composition.subnets)
        addresses = self.composition.addresses()
        for name, each in addresses.items():
            self.network.add(name, each)
        outside = self.composition.subnets["outside"]
        self.network.add(CLIENT, {"outside": IPv4Address(outside[200])})
        self.containers: dict[str, Container] = {}
        self.left_out = {"grafana": "not among Debian's packages"}

    def start(self) -> None:
        """Make networks, secrets and volumes, and start the containers in the order of the file."""
        self.network.make()
        self._make_secrets()
        for volume in self.composition.content["volumes"]:
            place = self.folder / "volumes" / volume
            place.mkdir(parents=True)
            place.chmod(0o700)
            os.chown(place, *(2 * (OWNERS.get(volume, 0),)))
        for name in self._in_order():
            self._start(name)

    def healthy(self) -> None:
        """Wait until every container passes its health check."""
        for name, container in self.containers.items():
            wait_until_healthy(container, self.composition.health_check(name) or ["true"])

    def close(self) -> None:
        """Kill all of it, and remove the networks."""
        for each in self.containers.values():
            each.kill()
        self.network.close()

    def published(self, service: str, port: int) -> tuple[str, int]:
        """Return where a port that the host would publish is, on the network outside."""
        for each in self.composition.services[service]["ports"]:
            *_, outer, inner = each.split(":")
            if int(outer) == port:
                return self.network.address(service, "outside"), int(inner)
        raise LookupError(f"{service} publishes no port {port}")

    def _in_order(self) -> list[str]:
        services = self.composition.services
        first = [name for name in services if "depends_on" not in services[name]]
        waiting = [name for name in services if name not in first]
        return [*first, *sorted(waiting, key=lambda name: name == "proxy")]

    def _start(self, name: str) -> None:
        described = self._image(name)
        if described is None:
            return
        for needed in ("postgres", "valkey"):
            if needed in self.composition.services[name].get("depends_on", ()):
                check = self.composition.health_check(needed)
                assert check
                wait_until_healthy(self.containers[needed], check)
        hosts = self.network.hosts(name)
        plan = self.composition.plan(name, self.folder, {name: described}, hosts)
        enter = self.network.command(name)
        self.containers[name] = Container(self.folder, plan, enter=enter)
        self.containers[name].start()

    def _image(self, name: str) -> Image | None:
        """Return what the image of a service is here; None if it is left out."""
        if name in self.left_out:
            return None
        if name == "postgres":
            return self._postgres()
        if name == "ohif" and not OHIF.exists():
            missing("no OHIF here: run deploy/setup/ohif.sh")
        if "localhost/lobar" in self.composition.services[name]["image"]:
            return self._lobar()
        if absent := self.composition.absent_files(name):
            self.left_out[name] = f"no {absent[0]} here"
            return None
        programs = {file: find() for file, find in PROGRAMS.get(name, {}).items()}
        if None in programs.values():
            self.left_out[name] = "not on this machine"
            return None
        mounts = [
            Mount(target=f"/usr/local/bin/{file}", source=source, is_read_only=True)
            for file, source in programs.items()
        ]
        return Image(environment={"PATH": PATH}, mounts=mounts)

    def _lobar(self) -> Image:
        hiding = self.folder / "hiding"
        if not hiding.exists():
            folder_that_hides(NOT_REQUIRED, self.folder)
            hiding.chmod(0o755)
            for each in hiding.iterdir():
                each.chmod(0o644)
        described = image("cpu", PATH)
        quicker = {"PYTHONPATH": "/opt/hiding", "LOBAR_BUNDLE__ENGINE": "torch"}
        described.environment.update(quicker)
        return replace(described, mounts=[Mount(target="/opt/hiding", source=hiding)])

    def _postgres(self) -> Image:
        need_program("initdb")
        programs = str(need_program("postgres").parent)
        account = pwd.getpwnam("postgres")
        os.chown(self.folder / "volumes" / "postgres", account.pw_uid, account.pw_gid)
        # the image's start may read the file as root; here it is the account itself
        password = self.folder / "password"
        shutil.copy(self.folder / "secrets" / "ledger_password", password)
        os.chown(password, account.pw_uid, account.pw_gid)
        return Image(
            entrypoint=["bash", "-ec", POSTGRES_START, "start"],
            environment={"PATH": f"{programs}:{PATH}", "LANG": "C.UTF-8"},
            user=f"{account.pw_uid}:{account.pw_gid}",
            mounts=[Mount(target="/run/secrets/ledger_password", source=password)],
        )

    def _make_secrets(self) -> None:
        script = self.folder / "secrets.sh"
        shutil.copy(ROOT / "deploy" / "compose" / "secrets.sh", script)
        subprocess.run([script, HOST_NAME], check=True, capture_output=True)
