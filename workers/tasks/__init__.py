"""The Celery workers: wiring of inference and delivery."""
