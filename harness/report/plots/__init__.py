"""What figures of records look like, one module a kind."""
