"""Durable storage: received bytes and outputs in the spool, facts in the ledger."""
