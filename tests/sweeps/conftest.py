"""Runs and compiled programs that the tests of this folder share."""

from whole_run import compiled, whole

__all__ = ["compiled", "whole"]
