"""Methods from outside."""
