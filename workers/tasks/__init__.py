"""The Celery workers that run inference and delivery."""
