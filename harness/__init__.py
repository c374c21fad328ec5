"""The harness: how a method is run, measured, stored and shown."""

__version__ = "0.1.0"

#: Raised whenever the same command would give other figures than before; part of every record.
PROTOCOL = 1
