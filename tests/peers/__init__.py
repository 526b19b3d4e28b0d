"""Real programs that tests talk to, and scripted peers where no real one can be had.

`tests` is on the import path (`pythonpath` in pyproject.toml), so a test imports from here:
`from peers.orthanc import Orthanc`.
"""
