"""What is compared: scenarios, profiles and suites, as TOML."""
