"""`lobar demo`: the main job on synthetic samples."""
