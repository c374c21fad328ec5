"""How long a training step takes, and its parts, on batches made up at a profile's shapes.

`session.py` asks processes of their own (`worker.py`), which take turns, so that what slows the
machine slows all that is compared. The modules on the worker's side may be loaded into another
revision's tree: of `harness` and `methods` they import as little as they can.
"""
