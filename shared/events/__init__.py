"""The contract between the services: every event, its catalogue and its wire form."""
