"""Makes the writers of test files in ``support/`` importable by the tests here."""

import sys
from pathlib import Path

# pytest imports test modules by path and puts no test folder on sys.path.
sys.path.append(str(Path(__file__).parent / "support"))
