"""What the user types: the verbs of `bench`."""
