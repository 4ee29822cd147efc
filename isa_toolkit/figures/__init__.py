"""Figures and tables: ``compute`` makes the numbers, ``draw`` only draws them.

``compute`` takes a ``Study`` and, where a figure is about one size, its number of distilled
images of each class. ``draw`` and ``caption`` take the table that it returns: rows of
``results_table``, unless its docstring says otherwise. The table is empty if the study has
no such run and may not distil one.
"""
