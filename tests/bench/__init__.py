"""What the house promises in numbers: one table, one file, every comparison from one run."""
