"""What people and programs read: lists, counts, traces, what flows and what is due."""
