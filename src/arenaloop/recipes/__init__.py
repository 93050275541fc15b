"""The papers, as loops over the parts below; they take objects and know no SPEC."""
