"""The guests that do the work: prediction, reports and delivery."""
