"""The doors and the memory of Lobar."""
