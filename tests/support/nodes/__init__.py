"""Nodes: whole services over one PostgreSQL, one Redis and one spool, each as a machine of its own.

A stand-in for machines: each node has its own namespaces for network, host name, processes, mounts
and time (so that its boot and uptime differ), its own state directory, and if a test says so its
own wall clock. The spool is one folder, mounted into each state directory as a share would be.
"""
