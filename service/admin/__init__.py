"""Commands of an operator: status, check, requeue, users and tokens."""
