"""How the web server bears many, slow and silent clients, and serves health on an own address."""
