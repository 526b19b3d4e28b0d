"""The machine as tests see it: ports, processes, programs, folders and a clock."""
