"""Train a network with several heads from a cache of films; not what ships yet."""
