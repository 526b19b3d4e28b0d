"""Who signs in: passwords, lock-out and throttling, an identity provider, a trusted proxy."""
