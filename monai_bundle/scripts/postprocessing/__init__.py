"""Turn the network's outputs into a refusal, or into a probability, a finding and a region."""
