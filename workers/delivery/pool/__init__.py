"""The associations to one destination, and the outputs that they share."""
