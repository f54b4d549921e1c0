"""A real Kafka without containers: jars fetched by Maven, brokers started on free ports, ended with their parent."""
