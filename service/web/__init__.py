"""The pages, the JSON API, health and metrics; their only writes are upload and requeue."""
