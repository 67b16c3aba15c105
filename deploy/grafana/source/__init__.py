"""The dashboards, a module each, out of the parts in parts.py and the panels in panels.py."""
