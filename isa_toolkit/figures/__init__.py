"""Figures and tables: ``compute`` makes the numbers, ``draw`` only draws them."""
