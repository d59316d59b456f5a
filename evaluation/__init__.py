"""Evaluation judges: measurements in, reports and findings out."""
