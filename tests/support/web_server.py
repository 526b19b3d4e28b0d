"""The web application behind a real server, with access to its ledger and spool."""

import io
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image
from pydicom import Dataset, dcmwrite

from service.decoding import DecoderPool, Handler, Template
from service.decoding.pictures import PictureConverter
from service.decoding.radiograph import Radiographs
from service.decoding.web_handler import WebHandler
from service.domain.job import Instance
from service.domain.user import Role
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.spool import Spool
from service.web.access import SESSION_COOKIE
from service.web.app import create_app
from service.web.changes import Changes
from service.web.serve import StreamEndingServer
from service.web.serving.limits import limits_of_pages
from support.migrated_ledger import open_ledger
from support.system.ports import LOOPBACK, free_port

# the default reads the certificates of the machine, for each server of a test
NO_CERTIFICATES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PACS = {"name": "pacs", "ae_title": "PACS", "host": LOOPBACK, "port": 104}


class Web:
    """A web server on loopback: enter `running`, then send requests with `client`."""

    def __init__(self, folder: Path, *, reserve_bytes: int = 0, **settings: object) -> None:
        self.port = free_port()
        tree: dict[str, Any] = {
            "state_dir": folder,
            "web": {"port": self.port, "maximum_upload_bytes": 4 << 20},
            "destinations": (PACS,),
            **settings,
        }
        self.settings = Settings(**tree)
        self.spool = Spool(self.settings.spool_dir, reserve_bytes=reserve_bytes)
        self.spool.prepare()
        self.ledger = open_ledger(self.settings.ledger_url)
        self.changes = Changes(
            self.ledger.worklist.revision, read_seconds=0.1, heartbeat_seconds=0.3
        )
        self.notifications = 0
        self._clients: list[httpx.Client] = []
        self.client = httpx.Client(
            base_url=f"http://{LOOPBACK}:{self.port}",
            timeout=30,
            verify=NO_CERTIFICATES,
        )

    def notify(self) -> None:
        self.notifications += 1

    @contextmanager
    def running(self, handler: Handler | None = None) -> Iterator[Self]:
        with ExitStack() as stack:
            template = stack.enter_context(closing(Template(handler))) if handler else _template()
            pool = stack.enter_context(closing(DecoderPool(template, self.settings.decoding, 2)))
            yield stack.enter_context(self._serving(pool))

    @contextmanager
    def _serving(self, pool: DecoderPool) -> Iterator[Self]:
        patience = self.settings.decoding.quick_seconds
        pictures = PictureConverter(pool, patience=patience)
        radiographs = Radiographs(pool, patience=patience)
        ingest = Ingest(self.spool, self.ledger, self.notify)
        stores = self.settings, self.ledger, self.spool
        app = create_app(*stores, ingest, pictures, radiographs, self.changes)
        self.app: Any = app
        server = StreamEndingServer(app, limits_of_pages(self.settings.web), self.changes)
        listening = socket.create_server((LOOPBACK, self.port))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield self
        finally:
            for client in (self.client, *self._clients):
                client.close()
            server.should_exit = True
            thread.join()
            self.ledger.close()

    @property
    def routes(self) -> FastAPI:
        """The application inside what guards it, which knows its routes."""
        inside: Any = self.app
        while not isinstance(inside, FastAPI):
            inside = inside._app
        return inside

    def sign_in(self, role: Role, name: str = "") -> httpx.Client:
        """Make a user of a role with a session; the first one ends the open access.

        A form of the client must send `csrf_token`; the header X-CSRF-Token is set already.
        """
        name = name or str(role)
        if self.ledger.users.find(name) is None:
            self.ledger.users.add(name, role, password_hash=None)
        token = self.ledger.sessions.begin(name, seconds=3600)
        session = self.ledger.sessions.find(token, idle_seconds=3600)
        assert session is not None
        client = httpx.Client(
            base_url=self.client.base_url,
            timeout=30,
            verify=NO_CERTIFICATES,
            cookies={SESSION_COOKIE: token},
            headers={"X-CSRF-Token": session.csrf_token},
        )
        self._clients.append(client)
        return client

    def program(self, token: str) -> httpx.Client:
        """Return the client of a program with an API token."""
        client = httpx.Client(
            base_url=self.client.base_url,
            timeout=30,
            verify=NO_CERTIFICATES,
            headers={"Authorization": f"Bearer {token}"},
        )
        self._clients.append(client)
        return client

    def browser(self) -> httpx.Client:
        """Return the client of another browser, without a session."""
        client = httpx.Client(base_url=self.client.base_url, timeout=30, verify=NO_CERTIFICATES)
        self._clients.append(client)
        return client

    def send(
        self,
        *contents: bytes,
        name: str = "sent",
        **options: Any,  # noqa: ANN401 -- whatever httpx takes
    ) -> httpx.Response:
        files = [("files", (name, content, "application/octet-stream")) for content in contents]
        return self.client.post("/api/instances", files=files, **options)

    def receive(self) -> str:
        """Record a job in the ledger as the listener would."""
        job_id = uuid.uuid4().hex
        uid = f"2.25.{uuid.uuid4().int}"
        self.ledger.jobs.receive(
            Instance(
                job_id=job_id,
                sop_instance_uid=uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
                series_instance_uid=uid,
                study_instance_uid=uid,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest="0" * 64,
                size_bytes=10,
                calling_ae_title="MODALITY",
            )
        )
        return job_id

    def left_in_incoming(self) -> list[str]:
        return [path.name for path in self.spool.incoming.iterdir()]

    def inbox(self) -> list[Path]:
        return list(self.spool.root.glob("inbox/??/*.dcm"))


@cache
def _template() -> Template:
    """Fork a template, once in each process of tests, which ends it by ending."""
    return Template(WebHandler())


def part10(dataset: Dataset, folder: Path) -> bytes:
    path = folder / f"{uuid.uuid4().hex}.dcm"
    dcmwrite(path, dataset, enforce_file_format=True)
    return path.read_bytes()


def picture(kind: str = "PNG", seed: int = 1) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (80, 90), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()
