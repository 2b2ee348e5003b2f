"""Runs one statement on an SQLite database, as `python sqlite.py FILE STATEMENT`."""

import sqlite3
import sys

with sqlite3.connect(sys.argv[1]) as database:
    changed = database.execute(sys.argv[2]).rowcount
assert changed == 1, f"{changed} rows changed"
