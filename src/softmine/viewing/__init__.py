"""Looking at runs in a browser: radiance fields from any side, pictures, and where the samples fall."""
