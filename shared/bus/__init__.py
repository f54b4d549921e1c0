"""Events between services: the Bus protocol, its implementations, relay, consumer and dead letters."""
