"""Turn the network's outputs into a refusal, a probability, a finding and a region."""
