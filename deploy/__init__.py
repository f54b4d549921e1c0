"""Every way to run SalesGrain."""
