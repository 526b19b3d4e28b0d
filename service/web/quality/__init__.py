"""What the quality page computes from the ledger's counts, and draws."""
