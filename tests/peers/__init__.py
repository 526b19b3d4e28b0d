"""Real servers and clients for tests, and scripted peers where no real one is available.

`tests` is on the import path (`pythonpath` in pyproject.toml), so a test imports from here:
`from peers.orthanc import Orthanc`.
"""
