"""What a person uses: threads now, app files and bundles later."""
