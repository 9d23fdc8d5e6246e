"""Figures: functions from data to charts (`rbc_marl.analysis.charts`), one module for each kind of data.

A function returns an empty list where there is nothing to draw. `rbc_marl.analysis.drawing.save` draws charts into a
file.
"""
