"""The Structured Report (TID 1500, TID 2000)."""
