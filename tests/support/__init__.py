"""Parts of Lobar and of the machine, made ready for a test: processes, ports, folders."""
