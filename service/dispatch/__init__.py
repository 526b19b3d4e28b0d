"""Wake the workers: Celery notifications, the relay, an embedded Redis."""
