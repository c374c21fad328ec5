"""From files on disk to a Batch on the device."""
