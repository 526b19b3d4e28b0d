"""Log, metrics and heartbeats."""
