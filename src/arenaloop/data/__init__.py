"""Battles to rows, and the field's file formats."""
