"""A systemd that tests boot for themselves."""
