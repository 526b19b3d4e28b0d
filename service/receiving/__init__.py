"""Receive: accept or reject an instance and store it durably."""
