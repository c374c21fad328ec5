"""The contract suite: what every method must keep to, whoever wrote it.

`bench test-method NAME` runs it; a package's own tests do so by `cases(MyMethod)`.
"""

from methods.testing.suite import Case, cases
from methods.testing.tools import ContractError

__all__ = ["Case", "ContractError", "cases"]
