"""One port in front of all services, each with any number of replicas: the same URLs as the embedded mode."""
