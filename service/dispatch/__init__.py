"""Notify the workers of due work: Celery tasks, the relay, an embedded Redis."""
