"""Commands of an operator: status, check, requeue."""
