"""How services run: what a service is, what it is given, and the loops that serve it."""
