"""Ways to draw samples from a density: independent, stratified, or by error diffusion."""
