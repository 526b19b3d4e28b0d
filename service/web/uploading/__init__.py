"""Receive files from a browser or a program, and ingest what is in them."""
