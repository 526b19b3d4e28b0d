"""A file system that loses what was not fsynced: a stand-in for a disk whose power is cut.

It is a FUSE file system in memory, in the manner of LazyFS, and no real disk. `model` holds what
programs see and what is durable, `server` mounts it, `mount` starts the server for a test, and
`cut` computes what is left of it at any operation of a run.
"""
