"""Sign in and out: with a password, at an identity provider, behind a trusted proxy."""
