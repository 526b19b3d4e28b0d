"""The Encapsulated PDF."""
