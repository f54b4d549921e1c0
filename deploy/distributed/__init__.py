"""The distributed mode on one machine: PostgreSQL, Kafka, replicas of all services as processes, and the gateway."""
