"""How answers are shown: tables, sizes, durations, progress, templates for rows."""
