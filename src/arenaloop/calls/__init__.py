"""Every call of a model: asked once, stored, resumable. It knows no battle."""
