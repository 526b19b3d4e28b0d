"""Start, watch and stop the processes of `lobar up`."""
