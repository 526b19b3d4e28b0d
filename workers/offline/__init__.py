"""`lobar analyze`: files in, findings out, without a service."""
