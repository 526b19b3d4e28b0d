"""Storage commitment: ask destinations, answer senders."""
