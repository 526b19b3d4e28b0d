"""What every test may ask for: real peers on loopback, each in a module of `tests/peers`."""

pytest_plugins = [
    # none before those it imports: pytest must be the first to import each
    "support.ports",
    "support.programs",
    "support.radiographs",
    "peers.redis_server",
    "peers.postgresql",
    "peers.orthanc",
    "support.certificates",
    "peers.dcmtk",
    "peers.validators",
    "support.lobar_process",
    "support.machine",
    "peers.viewer",
]
