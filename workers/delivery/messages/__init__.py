"""Send messages about reports: over HTTP, MLLP and SMTP."""
