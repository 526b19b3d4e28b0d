"""The values of the page of one instance."""
