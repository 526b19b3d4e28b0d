"""Seeded fuzzers of the interfaces, and what they look at."""
