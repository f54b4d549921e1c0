"""SalesGrain in containers: one image, docker-compose.yml, its secrets, and the program that brings it up for real."""
