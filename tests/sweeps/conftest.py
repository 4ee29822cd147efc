"""Runs that the tests of this folder share."""

from whole_run import whole

__all__ = ["whole"]
