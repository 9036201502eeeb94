"""Exported files: networks for programs that do not use netzoo; see docs/export.md."""
