"""What all services are built from; it knows no service."""
