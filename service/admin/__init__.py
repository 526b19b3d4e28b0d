"""What an operator asks for: status, check, requeue."""
