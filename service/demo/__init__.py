"""`lobar demo`: a complete service that reports on synthetic samples."""
