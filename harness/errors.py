"""Errors that are the user's to mend."""


class BenchError(Exception):
    """Says what was found, what was expected and what to do; the command line exits with 2."""


class DataError(BenchError):
    """A data set is missing, incomplete or malformed."""
