"""A client for the requests of tests and for polling: `httpx.get` reads the certificates each time.

That takes it 20 ms of a processor for each request, and a service that starts is polled for
seconds.
"""

from typing import Final

import httpx

# without kept connections, because servers are stopped between requests
# with a bound against hanging, on a machine that is busy with other tests
HTTP: Final = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
