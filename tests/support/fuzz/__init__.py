"""Seeded fuzzers of the doors, and what they look at."""
