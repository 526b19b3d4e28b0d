"""Jobs, deliveries and commitments: leased, written under a fence, and what follows."""
