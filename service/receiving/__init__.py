"""Receive instances: accept or reject each, and store the accepted ones durably."""
