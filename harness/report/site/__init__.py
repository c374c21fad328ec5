"""What a static report of records is made of: pages, their style and script, no network."""
