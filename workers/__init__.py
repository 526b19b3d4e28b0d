"""The workers: prediction, reports and delivery."""
