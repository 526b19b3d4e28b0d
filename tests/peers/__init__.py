"""Real programs that tests talk to, and synthetic instances to talk about.

`tests` is on the import path (`pythonpath` in pyproject.toml), so a test may also import from
here: `from peers.objects import make_cr`.
"""
