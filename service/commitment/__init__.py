"""Storage commitment (PS3.4 annex J): evaluate requests, record results."""
