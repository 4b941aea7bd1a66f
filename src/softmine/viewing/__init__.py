"""Looking at runs in a browser: radiance fields from any side, images, and where the samples fall."""
