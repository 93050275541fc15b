"""What a run, or a file, holds in the forms that other projects load: one file a family of formats."""
