"""Lobar: receive, remember and dispatch instances, and serve the pages and commands."""
