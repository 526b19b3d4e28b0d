"""What every test may ask for: real peers on loopback, each in a module of `tests/peers`."""

pytest_plugins = [
    "peers.ports",
    "peers.programs",
    "peers.redis_server",
    "peers.postgresql",
]
