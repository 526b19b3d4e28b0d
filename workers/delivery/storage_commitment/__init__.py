"""Storage commitment: request it of destinations, report results to senders."""
