"""Comparisons, their statistics, and reports."""
