"""The server that the pages, the API and health have in common, on a real socket."""

import socket
import threading
import time
from typing import Any

import httpx
from starlette.responses import PlainTextResponse
from support.system.ports import LOOPBACK

from service.settings import WebSettings
from service.web.serving.limits import limits_of_pages
from service.web.serving.server import BoundedServer


def test_a_response_does_not_wait_for_the_acknowledgement_of_its_header() -> None:
    server = BoundedServer(PlainTextResponse("answered"), limits_of_pages(WebSettings()))
    with socket.create_server((LOOPBACK, 0)) as listening, httpx.Client() as client:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            client.get(f"http://{LOOPBACK}:{listening.getsockname()[1]}/")
            connection: Any
            (connection,) = server.server_state.connections
            ours = connection.transport.get_extra_info("socket")
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        finally:
            server.should_exit = True
            thread.join()
