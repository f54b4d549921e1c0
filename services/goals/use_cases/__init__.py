"""What goals can be asked to do: load, decide, save, announce, in one transaction."""
