"""Networks: encoders, heads, and the zoo that builds them by name."""
