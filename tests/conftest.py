"""What every test may ask for: real peers on loopback, each in a module of `tests/peers`."""

pytest_plugins = [
    # none before those it imports: pytest must be the first to import each
    "peers.ports",
    "peers.programs",
    "peers.radiographs",
    "peers.redis_server",
    "peers.postgresql",
    "peers.orthanc",
    "peers.certificates",
    "peers.dcmtk",
    "peers.validators",
    "peers.lobar",
    "peers.machine",
    "peers.viewer",
]
