"""What is compared: scenarios, profiles and suites, as TOML; figures of the literature, as JSON."""
