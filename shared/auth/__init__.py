"""Who asks: principals, token verification, roles and row scopes, the development issuer."""
